//! The seam between those who accept invocations (gateway, control) and the nodes that run them.
//!
//! A [`Node`] has five roles: [`Invoke`] runs events, [`Revisions`] keeps snapshots, [`Code`] what they
//! are made of, [`Logs`] what functions write,
//! [`Capacity`] says how much there is. Each is a trait without default bodies; a test that needs one of them
//! puts a node together from [`Parts`] of [`Nothing`].
//!
//! An event is an [`InvokeHead`] and a [`Body`] in pieces, its answer a [`Reply`] in pieces. Whatever the
//! *function* does wrong (raise, exit, run out of time, answer too much) is an end with a [`FunctionFault`];
//! [`InvokeError`] is for what the *platform* could not do.
//!
//! Invariants: nothing here names a sandbox, a kernel or HTTP; nothing that crosses holds a moment of one machine's
//! clock, a path or a channel, so that a node may be another process or machine.

#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;

mod body;
mod capacity;
mod code;
mod error;
mod fault;
mod invoke;
mod log;
mod logs;
mod nothing;
mod outcome;
mod reply;
mod revisions;
mod spec;

pub use body::{Body, BodyBroken, BodySource, BodyWriter, PIECE_BYTES, ReaderGone};
pub use capacity::{Absence, Capacity, CapacityGroup, CapacityKind, CapacityView, TargetError};
pub use code::{Catalogue, Code, CodeError};
pub use error::{Begun, InvokeError, ThrottleReason};
pub use fault::{FaultKind, FunctionFault, MAX_RESPONSE_BYTES};
pub use invoke::{Invoke, InvokeHead, LogTail, Taken, Unheard};
pub use log::{LOG_CHANNEL_RECORDS, LOG_TAIL_BYTES, LogKind, LogRecord, tail_of};
pub use logs::{Heard, LogSource, LogSubscription, Logs};
pub use nothing::{Nothing, Parts};
pub use outcome::{InvokeOutcome, InvokeResult, Stage, StageTime, StartKind, Timings};
pub use reply::{
    InvokeEnd, PieceSource, PieceWriter, Pieces, Reply, ReplyHead, ReplyPiece, ResponseMode,
};
pub use revisions::{NoSnapshot, Revisions};
pub use spec::{
    CodeRef, FRESH_VARIABLE, FunctionSpec, Isolation, PLATFORM_VARIABLE, PlatformDemand, Revision,
    SECRETS_VARIABLE, SNAPSHOT_VARIABLE, SnapStart, WARM_UP_VARIABLE, secret_names,
};

/// A boxed future, so that the roles can be used as trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A machine that runs functions, or several of them: all roles together.
pub trait Node: Invoke + Revisions + Code + Logs + Capacity {}

impl<T: Invoke + Revisions + Code + Logs + Capacity + ?Sized> Node for T {}
