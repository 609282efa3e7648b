//! What a sandbox is for: the part of it that knows more of its guest than that it is a program.
//!
//! A workload is driven by the one thread that owns the sandbox ([`crate::running`]), in this order:
//!
//! | step | [`lambda`] | [`program`] | an HTTP server, when it comes |
//! | --- | --- | --- | --- |
//! | [`start`] | listens on the Runtime API's address | nothing | nothing: the program listens |
//! | [`Workload::loaded`] | begins to measure the runtime's start | nothing | begins to try its port |
//! | ready: [`Workload::notice`] | the runtime asks for `/next`, says `Ready`, is frozen | never: it runs at once | the port accepts: says `Ready`, is frozen |
//! | [`Workload::deliver`] | thaws, answers `/next` | there are no events | thaws, dials the port, writes the request; the answer's head and pieces come back as for a streamed response |
//! | [`Workload::credit`] | lets more of a streamed response in | nothing | reads on from its connection |
//! | [`Workload::save`], [`load`] | the Runtime API's connections and state | nothing | nothing: it has no connection while it is ready |
//! | [`Workload::go_on`] | answers `restore/next`, or hands over the event that came along | thaws | thaws, and delivers the event that came along |
//!
//! What happens in the guest comes as a [`RuntimeNotice`] from its own threads, which never wait; what a workload tells
//! the node goes through the outbox, from any thread.

pub(crate) mod lambda;
pub(crate) mod program;
pub(crate) mod sink;

use std::sync::Arc;
use std::time::Instant;

use kernel_vfs::save::Unsavable;
use proto_sandbox::{EventHead, FirstEvent, WorkloadSpec};
use sandbox_snapshot::CapturedAt;

use crate::BuildError;
use crate::hot::ClonedSpaces;
use crate::machine::Machine;
use crate::notices::{Notices, RuntimeNotice};
use crate::outbox::Outbox;

/// Whom a workload tells what happens.
#[derive(Clone)]
pub(crate) struct Ends {
    /// The node.
    pub(crate) outbox: Arc<Outbox>,
    /// The thread that owns the sandbox.
    pub(crate) notices: Arc<Notices>,
}

/// What a sandbox is for.
pub(crate) trait Workload {
    /// The program was loaded at `at`; its first instruction is about to run.
    fn loaded(&mut self, at: Instant);

    /// Something happened in the guest.
    fn notice(&mut self, machine: &Machine, notice: RuntimeNotice);

    /// Hands the guest an event.
    fn deliver(&mut self, machine: &Machine, head: EventHead, payload: Vec<u8>);

    /// A reader of the streamed response to `request_id` has taken `bytes` of it.
    fn credit(&mut self, request_id: &str, bytes: u64);

    /// Lets whoever waits for a snapshot go on, as the original, with variables that no snapshot may hold.
    fn resume(&mut self, machine: &Machine, environment: &[(String, String)]);

    /// Where the guest stands, while it is frozen.
    fn stands_at(&self) -> CapturedAt;

    /// What a snapshot holds of it beside the guest, while that is frozen.
    ///
    /// # Errors
    /// When it is in the middle of something.
    fn save(&self) -> Result<Vec<u8>, Unsavable>;

    /// Lets a clone go on whose guest has not run yet.
    fn go_on(&mut self, machine: &Machine, how: GoOn);
}

/// How a clone goes on.
pub(crate) struct GoOn {
    /// Where its guest stands.
    pub(crate) from: CapturedAt,
    /// From when its time counts.
    pub(crate) since: Instant,
    pub(crate) learn: Learn,
    /// The event that it is for, with its body, if it is for one.
    pub(crate) event: Option<(FirstEvent, Vec<u8>)>,
    /// Variables that no snapshot may hold.
    pub(crate) environment: Vec<(String, String)>,
}

/// What a clone tells after its first event.
pub(crate) enum Learn {
    Nothing,
    /// Which pages of these spaces it used.
    WhatIsUsed(ClonedSpaces),
}

/// Takes its place in a sandbox whose program does not run yet.
///
/// # Errors
/// When the specification makes no sense.
pub(crate) fn start(
    spec: &WorkloadSpec,
    machine: &Machine,
    ends: &Ends,
) -> Result<Box<dyn Workload>, BuildError> {
    Ok(match spec {
        WorkloadSpec::Program => Box::new(program::PlainProgram),
        WorkloadSpec::Lambda(spec) => Box::new(lambda::Lambda::start(spec, machine, ends)?),
    })
}

/// Brings back what was saved, for a guest that does not run yet.
///
/// # Errors
/// As [`start`], and when what was saved is of something else.
pub(crate) fn load(
    spec: &WorkloadSpec,
    machine: &Machine,
    ends: &Ends,
    saved: &[u8],
) -> Result<Box<dyn Workload>, BuildError> {
    Ok(match spec {
        WorkloadSpec::Program => Box::new(program::PlainProgram),
        WorkloadSpec::Lambda(spec) => Box::new(lambda::Lambda::load(spec, machine, ends, saved)?),
    })
}
