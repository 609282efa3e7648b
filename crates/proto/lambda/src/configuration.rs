//! What the API answers about functions and the account.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;

use crate::request::{EphemeralStorage, LoggingConfig, TracingConfig};

/// `State` of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum FunctionState {
    /// Being created; cannot be invoked yet.
    Pending,
    /// Can be invoked.
    Active,
}

/// `LastUpdateStatus` of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LastUpdateStatus {
    /// The update is in force.
    Successful,
    /// The update is being made.
    InProgress,
}

/// `Environment` in an answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EnvironmentResponse {
    /// All variables.
    pub variables: BTreeMap<String, String>,
}

/// `SnapStart` in an answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SnapStartResponse {
    /// `PublishedVersions` or `None`.
    pub apply_on: String,
    /// `On` or `Off`.
    pub optimization_status: &'static str,
}

/// `RuntimeVersionConfig` in an answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuntimeVersionConfig {
    /// Names the version of the runtime.
    pub runtime_version_arn: String,
}

/// `FunctionConfiguration`: members that AWS leaves out of an answer are `None`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FunctionConfiguration {
    /// Name without qualifier.
    pub function_name: String,
    /// ARN, with the qualifier if the request had one.
    pub function_arn: String,
    /// Runtime identifier.
    pub runtime: String,
    /// Role ARN as given; nothing assumes it.
    pub role: String,
    /// Handler.
    pub handler: String,
    /// Size of the zip in bytes.
    pub code_size: u64,
    /// Free text.
    pub description: String,
    /// Time limit in seconds.
    pub timeout: u32,
    /// Memory in MiB.
    pub memory_size: u32,
    /// Time of the last change, see [`crate::last_modified`].
    pub last_modified: String,
    /// SHA-256 of the zip in base64.
    pub code_sha256: String,
    /// `$LATEST` or a number.
    pub version: String,
    /// Environment, only if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentResponse>,
    /// Tracing mode.
    pub tracing_config: TracingConfig,
    /// Changes with every change of state.
    pub revision_id: String,
    /// Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<FunctionState>,
    /// Only while pending, and when a version has no snapshot because it did not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<Cow<'static, str>>,
    /// With `state_reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_reason_code: Option<&'static str>,
    /// Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_status: Option<LastUpdateStatus>,
    /// Only while in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_status_reason: Option<&'static str>,
    /// Only while in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_status_reason_code: Option<&'static str>,
    /// Always `Zip`.
    pub package_type: &'static str,
    /// One entry.
    pub architectures: Vec<String>,
    /// Size of `/tmp`.
    pub ephemeral_storage: EphemeralStorage,
    /// What was asked for, and whether this version starts from a snapshot.
    pub snap_start: SnapStartResponse,
    /// Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version_config: Option<RuntimeVersionConfig>,
    /// Log format and group.
    pub logging_config: LoggingConfig,
}

/// `Code` of GetFunction.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FunctionCodeLocation {
    /// Always `S3`, which is what clients expect of a downloadable zip.
    pub repository_type: &'static str,
    /// URL from which the zip can be downloaded for some minutes.
    pub location: String,
}

/// Answer of GetFunction.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetFunctionResponse {
    /// The configuration.
    pub configuration: FunctionConfiguration,
    /// Where the code is.
    pub code: FunctionCodeLocation,
    /// Tags, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// Answer of ListFunctions.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListFunctionsResponse {
    /// Where the next page starts, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// One page, sorted by name.
    pub functions: Vec<FunctionConfiguration>,
}

/// Answer of ListVersionsByFunction.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListVersionsResponse {
    /// Where the next page starts, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// `$LATEST` first, then from the oldest to the newest.
    pub versions: Vec<FunctionConfiguration>,
}

/// Limits of the account.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountLimit {
    /// Bytes of zipped code in all.
    pub total_code_size: u64,
    /// Bytes of one function's code, unpacked.
    pub code_size_unzipped: u64,
    /// Bytes of one zip.
    pub code_size_zipped: u64,
    /// Instances at once in all.
    pub concurrent_executions: u32,
    /// Those of them that no function has reserved.
    pub unreserved_concurrent_executions: u32,
}

/// What the account uses.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountUsage {
    /// Bytes of zipped code in all.
    pub total_code_size: u64,
    /// Functions.
    pub function_count: u64,
}

/// Answer of GetAccountSettings.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountSettings {
    /// Limits.
    pub account_limit: AccountLimit,
    /// Use.
    pub account_usage: AccountUsage,
}
