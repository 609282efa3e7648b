//! What goes with an event for a function.

use serde::{Deserialize, Serialize};

/// What the runtime learns of an event besides its body; each member becomes a
/// header of the answer to `GET /2018-06-01/runtime/invocation/next`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventHead {
    /// `Lambda-Runtime-Aws-Request-Id`.
    pub request_id: String,
    /// `Lambda-Runtime-Invocation-Id`: this attempt; the runtime may echo it.
    pub invocation_id: String,
    /// `Lambda-Runtime-Deadline-Ms`: milliseconds since 1970 at which it is killed.
    pub deadline_ms: u64,
    /// `Lambda-Runtime-Invoked-Function-Arn`.
    pub invoked_function_arn: String,
    /// `Lambda-Runtime-Trace-Id`.
    pub trace_id: Option<String>,
    /// `Lambda-Runtime-Client-Context`: JSON, already decoded from base64.
    pub client_context: Option<String>,
    /// `Lambda-Runtime-Cognito-Identity`: JSON.
    pub cognito_identity: Option<String>,
    /// `Lambda-Runtime-Aws-Tenant-Id`.
    pub tenant_id: Option<String>,
}
