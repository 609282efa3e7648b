//! The seam between those who accept invocations (gateway, control) and the node that runs them.
//!
//! An [`Invoker`] takes a [`FunctionSpec`], which holds everything needed to start an instance, and
//! an [`InvokeRequest`], and answers with an [`InvokeOutcome`]. Whatever the *function* does wrong
//! (raise, exit, run out of time, answer too much) is an outcome with a [`FunctionFault`];
//! [`InvokeError`] is for what the *platform* could not do.
//!
//! Invariant: nothing here names a sandbox, a kernel or HTTP.

#![forbid(unsafe_code)]

mod fault;
mod invoker;
mod log;
mod outcome;
mod spec;

pub use fault::{FaultKind, FunctionFault, MAX_RESPONSE_BYTES};
pub use invoker::{
    BoxFuture, InvokeError, InvokeRequest, Invoker, LogTail, NoSnapshot, ThrottleReason,
};
pub use log::{LOG_CHANNEL_RECORDS, LOG_TAIL_BYTES, LogKind, LogRecord, tail_of};
pub use outcome::{InvokeOutcome, InvokeResult, Stage, StageTime, StartKind, Timings};
pub use spec::{
    CodeLocation, FRESH_VARIABLE, FunctionSpec, Isolation, PLATFORM_VARIABLE, Revision,
    SECRETS_VARIABLE, SNAPSHOT_VARIABLE, SnapStart, WARM_UP_VARIABLE, secret_names,
};
