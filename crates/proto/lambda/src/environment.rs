//! Which environment variables a function may have.

use std::collections::BTreeMap;

use crate::{ApiError, Environment, Violations, limits};

const VARIABLE_PATTERN: &str = "[a-zA-Z]([a-zA-Z0-9_])+";

/// Variables that the platform sets itself (developer guide, "Reserved environment variables").
const RESERVED_VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
];

/// Checks the names' form.
pub(crate) fn check_names(environment: &Environment, violations: &mut Violations) {
    if let Some(variables) = &environment.variables
        && !variables.keys().all(|name| is_variable_name(name))
    {
        let constraint = format_args!(
            "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: {VARIABLE_PATTERN}]"
        );
        violations.add_sensitive("environment.variables", constraint);
    }
}

fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || RESERVED_VARIABLES.contains(&name))
        && bytes.clone().next().is_some()
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Checks reserved names and the size of the environment.
pub fn check_environment(environment: &Environment) -> Result<(), ApiError> {
    let Some(variables) = &environment.variables else {
        return Ok(());
    };
    let reserved: Vec<&str> = variables
        .keys()
        .map(String::as_str)
        .filter(|name| RESERVED_VARIABLES.contains(name))
        .collect();
    if !reserved.is_empty() {
        return Err(ApiError::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided contains reserved keys that are currently not supported for modification. Reserved keys used \
             in this request: {}",
            reserved.join(", ")
        )));
    }
    if variables.values().any(|value| value.contains('\0')) {
        return Err(ApiError::invalid_parameter(
            "Environment variables must not contain NUL characters.",
        ));
    }
    check_secrets(variables)?;
    check_choices(variables)?;
    check_warm_up(variables)?;
    let measured = serde_json::json!(variables).to_string();
    if measured.len() > limits::ENVIRONMENT_BYTES {
        return Err(ApiError::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided exceeded the 4KB limit. String measured: {measured}"
        )));
    }
    Ok(())
}

/// Events that the function handles before it is captured.
const WARM_UP_VARIABLE: &str = "REKINDLE_WARM_UP";

fn check_warm_up(variables: &BTreeMap<String, String>) -> Result<(), ApiError> {
    match variables.get(WARM_UP_VARIABLE) {
        Some(text) if serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text).is_err() => {
            Err(ApiError::invalid_parameter(format!(
                "{WARM_UP_VARIABLE} must be a JSON list of events."
            )))
        }
        _ => Ok(()),
    }
}

/// Variables that this server obeys, with the words that each may have.
const CHOICES: [(&str, [&str; 2]); 3] = [
    ("REKINDLE_SNAPSHOT", ["on", "off"]),
    ("REKINDLE_FRESH", ["true", "false"]),
    ("REKINDLE_PLATFORM", ["process", "kvm"]),
];

fn check_choices(variables: &BTreeMap<String, String>) -> Result<(), ApiError> {
    for (name, [one, other]) in CHOICES {
        if let Some(value) = variables.get(name)
            && value != one
            && value != other
        {
            // A value may be secret; the name is not.
            return Err(ApiError::invalid_parameter(format!(
                "{name} must be {one} or {other}."
            )));
        }
    }
    Ok(())
}

/// Names the variables, separated by commas, whose values may be in no snapshot.
const SECRETS_VARIABLE: &str = "REKINDLE_SECRETS";
/// Shortest value that can be looked for in a snapshot.
const SECRET_BYTES: usize = 8;

/// Checks that what is to be kept out of snapshots is there and can be looked for.
fn check_secrets(variables: &BTreeMap<String, String>) -> Result<(), ApiError> {
    let named = variables.get(SECRETS_VARIABLE).map_or("", String::as_str);
    let names = named.split(',').map(str::trim);
    for name in names.filter(|name| !name.is_empty()) {
        let message = match variables.get(name) {
            None => format!("{SECRETS_VARIABLE} names {name}, and there is no such variable."),
            Some(value) if value.len() < SECRET_BYTES => format!(
                "The secret {name} must have at least {SECRET_BYTES} bytes: \
                 no snapshot can be checked for a shorter one."
            ),
            Some(_) => continue,
        };
        return Err(ApiError::invalid_parameter(message));
    }
    Ok(())
}
