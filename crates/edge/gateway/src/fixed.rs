//! Operations that ask for what cannot exist here yet: they answer that there is none.
//!
//! Terraform and the command-line tools read these on every run and stop at an error.

use control_registry::Registry;
use proto_lambda::{ApiError, ErrorCode, FunctionRef, Operation};
use serde_json::{Value, json};

use crate::{
    call::Call,
    respond::{self, Answer},
};

pub(crate) fn answer(registry: &Registry, operation: Operation, call: &Call) -> Answer {
    let value = match operation {
        Operation::ListEventSourceMappings => json!({ "EventSourceMappings": [] }),
        Operation::ListLayers => json!({ "Layers": [] }),
        Operation::ListCodeSigningConfigs => json!({ "CodeSigningConfigs": [] }),
        of_function => return about_function(registry, of_function, call),
    };
    respond::ok(&value)
}

fn about_function(registry: &Registry, operation: Operation, call: &Call) -> Answer {
    let wanted = call.qualified_function()?;
    let function = registry.find(&wanted)?;
    let arn = registry.arn_of(&FunctionRef {
        region: None,
        account: None,
        ..wanted.clone()
    });
    let missing = |message: &str| Err(ApiError::new(ErrorCode::RESOURCE_NOT_FOUND, message).into());
    let value: Value = match operation {
        Operation::GetFunctionCodeSigningConfig => json!({ "FunctionName": function.record.name }),
        Operation::GetFunctionConcurrency => json!({}),
        Operation::GetRuntimeManagementConfig => {
            json!({ "FunctionArn": arn, "UpdateRuntimeOn": "Auto" })
        }
        Operation::GetFunctionRecursionConfig => json!({ "RecursiveLoop": "Terminate" }),
        Operation::ListFunctionUrlConfigs => json!({ "FunctionUrlConfigs": [] }),
        Operation::ListFunctionEventInvokeConfigs => json!({ "FunctionEventInvokeConfigs": [] }),
        Operation::ListProvisionedConcurrencyConfigs => {
            json!({ "ProvisionedConcurrencyConfigs": [] })
        }
        Operation::GetPolicy => return missing("No policy is associated with the given resource."),
        Operation::GetFunctionUrlConfig => {
            return missing("The resource you requested does not exist.");
        }
        Operation::GetFunctionEventInvokeConfig => {
            return missing(&format!(
                "The function {arn} doesn't have an EventInvokeConfig"
            ));
        }
        Operation::GetProvisionedConcurrencyConfig => {
            return Err(ApiError::new(
                ErrorCode::PROVISIONED_CONCURRENCY_NOT_FOUND,
                "No Provisioned Concurrency Config found for this function",
            )
            .into());
        }
        other => return Err(ApiError::not_implemented(other.name()).into()),
    };
    respond::ok(&value)
}
