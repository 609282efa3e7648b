//! The AWS Lambda API as types: operations, shapes, limits, names and errors.
//!
//! Nothing here does I/O or knows a function; what a client sent is parsed and checked once,
//! here, and every refusal is an [`ApiError`] with the text that AWS would have used.
//!
//! Sources: the public service model `lambda/2015-03-31` (shapes, patterns, statuses) and the
//! AWS Lambda developer guide (quotas, error texts).

#![forbid(unsafe_code)]

mod alias;
mod configuration;
mod environment;
mod error;
pub mod limits;
mod name;
mod operation;
mod request;
mod runtime;
mod support_page;
mod tags;
mod time;
mod validate;
mod violation;

pub use alias::{
    AliasConfiguration, CreateAliasRequest, ListAliasesResponse, RoutingConfig, UpdateAliasRequest,
    check_alias_name, check_version,
};
pub use configuration::{
    AccountLimit, AccountSettings, AccountUsage, EnvironmentResponse, FunctionCodeLocation,
    FunctionConfiguration, FunctionState, GetFunctionResponse, LastUpdateStatus,
    ListFunctionsResponse, ListVersionsResponse, RuntimeVersionConfig, SnapStartResponse,
};
pub use environment::check_environment;
pub use error::{ApiError, ErrorCode, MessageMember};
pub use name::{FunctionArn, FunctionRef, Qualifier};
pub use operation::{Method, Operation, OperationRow, Resolved, Support, resolve};
pub use request::{
    CreateFunctionRequest, Environment, EphemeralStorage, FunctionCode, LoggingConfig,
    PublishVersionRequest, SnapStartRequest, TagResourceRequest, TracingConfig,
    UpdateFunctionCodeRequest, UpdateFunctionConfigurationRequest, Zip,
};
pub use runtime::{CREATABLE_RUNTIMES, check_runtime};
pub use support_page::support_page;
pub use tags::{check_page_size, check_tag_keys, check_tags};
pub use time::{http_date_basic, last_modified};
pub use violation::Violations;
