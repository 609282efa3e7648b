//! Which runtime identifiers a function may have.

use crate::ApiError;

/// Runtimes with which a function can be created here; a node runs those whose interpreter it finds.
pub const CREATABLE_RUNTIMES: &[&str] = &[
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "provided.al2",
    "provided.al2023",
];

/// Checks a runtime identifier and words the refusal as AWS does.
pub fn check_runtime(runtime: &str) -> Result<(), ApiError> {
    if CREATABLE_RUNTIMES.contains(&runtime) {
        return Ok(());
    }
    let set = CREATABLE_RUNTIMES.join(", ");
    Err(ApiError::invalid_parameter(format!(
        "Value {runtime} at 'runtime' failed to satisfy constraint: \
         Member must satisfy enum value set: [{set}] or be a valid ARN"
    )))
}
