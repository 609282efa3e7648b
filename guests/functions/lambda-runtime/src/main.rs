//! Answers with what AWS's runtime for Rust handed over.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

async fn handle(request: LambdaEvent<Value>) -> Result<Value, Error> {
    println!("a line for the log");
    let (event, context) = request.into_parts();
    if let Some(reason) = event.get("raise").and_then(Value::as_str) {
        return Err(reason.into());
    }
    Ok(json!({
        "event": event,
        "request_id": context.request_id,
        "arn": context.invoked_function_arn,
        "memory": context.env_config.memory,
        "deadline": context.deadline > 0,
    }))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}
