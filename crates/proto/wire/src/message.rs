//! What is asked of a node, and what it answers.

use std::collections::BTreeSet;

use proto_node::{
    CapacityKind, CapacityView, CodeError, CodeRef, FunctionSpec, InvokeEnd, InvokeError,
    InvokeHead, LogRecord, NoSnapshot, ReplyHead, Revision, TargetError,
};
use serde::{Deserialize, Serialize};

/// What is asked of a node. To drain one is up to who runs it, not to those who call it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Call {
    /// `Invoke::invoke`; pieces of the event follow. CallAnswer: [`CallAnswer::Invoked`], pieces, [`CallAnswer::Ended`].
    Invoke {
        /// What the side connection calls the event; each session counts its own.
        event: u64,
        /// The function.
        function: Box<FunctionSpec>,
        /// What goes with the event.
        head: Box<InvokeHead>,
    },
    /// `Revisions::prepare`. CallAnswer: [`CallAnswer::Prepared`].
    Prepare(Box<FunctionSpec>),
    /// `Revisions::has_snapshot`. CallAnswer: [`CallAnswer::Flag`].
    HasSnapshot(Box<FunctionSpec>),
    /// `Revisions::outdated`. CallAnswer: [`CallAnswer::Revisions`].
    Outdated,
    /// `Revisions::forget`. CallAnswer: [`CallAnswer::Done`].
    Forget(Revision),
    /// `Revisions::keep_only`. CallAnswer: [`CallAnswer::Done`].
    KeepOnly(BTreeSet<Revision>),
    /// `Code::has_code`. CallAnswer: [`CallAnswer::Flag`].
    HasCode(CodeRef),
    /// `Code::put_code`; pieces of the archive follow. CallAnswer: [`CallAnswer::Stored`].
    PutCode(CodeRef),
    /// `Code::remove_code`. CallAnswer: [`CallAnswer::Done`].
    RemoveCode(CodeRef),
    /// `Code::keep_code`. CallAnswer: [`CallAnswer::Done`].
    KeepCode(BTreeSet<CodeRef>),
    /// `Logs::subscribe`. CallAnswer: [`CallAnswer::Record`] and [`CallAnswer::Lost`], without end.
    Subscribe,
    /// `Logs::stored_logs`. CallAnswer: any number of [`CallAnswer::Record`], then [`CallAnswer::Done`].
    StoredLogs {
        /// Name of the function.
        function: String,
        /// How many at most.
        limit: u32,
    },
    /// `Logs::remove_logs`. CallAnswer: [`CallAnswer::Done`].
    RemoveLogs(String),
    /// `Capacity::view`. CallAnswer: [`CallAnswer::View`].
    View,
    /// `Capacity::target`. CallAnswer: [`CallAnswer::Targeted`].
    Target {
        /// The function.
        function: Box<FunctionSpec>,
        /// Of what.
        kind: CapacityKind,
        /// How many.
        count: u32,
    },
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CallAnswer {
    /// The answer to an event begins, or there is none.
    Invoked(Result<ReplyHead, InvokeError>),
    /// How it ended.
    Ended(Result<Box<InvokeEnd>, InvokeError>),
    /// Whether a function was prepared.
    Prepared(Result<(), NoSnapshot>),
    /// Yes or no.
    Flag(bool),
    /// Some revisions.
    Revisions(BTreeSet<Revision>),
    /// It is done.
    Done,
    /// Whether code was kept.
    Stored(Result<(), CodeError>),
    /// A log record.
    Record(Box<LogRecord>),
    /// So many records were lost.
    Lost(u64),
    /// What there is.
    View(CapacityView),
    /// Whether a target was accepted.
    Targeted(Result<(), TargetError>),
    /// The call was not understood or not allowed.
    Refused(String),
}
