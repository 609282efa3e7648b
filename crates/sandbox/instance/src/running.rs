//! A sandbox whose guest runs: one thread owns its state, hears the node and the guest, and acts.
//!
//! Other threads that there are: those of the guest's tasks; one that sees the guest end; one that moves its output;
//! one that looks at its memory. They tell the owner by [`crate::notices::Notices`] and answer the node by the outbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel_core::task::ExitStatus;
use proto_sandbox::{ExitReason, FromSandbox, GuestExit, Message, RefusalKind, ToSandbox};

use crate::capture;
use crate::diagnostics::Diagnostics;
use crate::inbox::{Inbox, InboxItem};
use crate::machine::Machine;
use crate::notices::{Notice, Notices};
use crate::outbox::Outbox;
use crate::workload::Workload;

/// A guest that runs, or stands still between two events.
pub(crate) struct Running {
    pub(crate) machine: Machine,
    pub(crate) workload: Box<dyn Workload>,
}

/// What ends a sandbox from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Itself,
    Stopped,
}

impl Running {
    /// Obeys the node until the guest has ended, and says how it did.
    pub(crate) fn serve(
        mut self,
        inbox: &mut Inbox<'_>,
        outbox: &Arc<Outbox>,
        diagnostics: Diagnostics,
    ) {
        let mut ending = Ending::Itself;
        if let Err(error) = self.watch(inbox.notices()) {
            tracing::error!(%error, "nobody can see the guest end");
            self.machine.kill();
            return;
        }
        loop {
            match inbox.next() {
                InboxItem::Notice(Notice::Ended) => break,
                InboxItem::Notice(Notice::Runtime(notice)) => {
                    self.workload.notice(&self.machine, notice);
                }
                InboxItem::Message(message) => self.obey(message, inbox, outbox, &mut ending),
                InboxItem::NodeGone => self.machine.kill(),
            }
        }
        self.say_goodbye(outbox, ending);
        diagnostics.ended(&*self.machine.system.kernel.platform);
    }

    /// Has a thread tell when the guest has ended.
    fn watch(&self, notices: &Arc<Notices>) -> std::io::Result<()> {
        let (system, notices) = (Arc::clone(&self.machine.system), Arc::clone(notices));
        let waiting = std::thread::Builder::new().name("end".into());
        waiting.spawn(move || {
            system.kernel.wait_ended(None);
            notices.tell(Notice::Ended);
        })?;
        Ok(())
    }

    fn obey(
        &mut self,
        message: Message<ToSandbox>,
        inbox: &mut Inbox<'_>,
        outbox: &Outbox,
        ending: &mut Ending,
    ) {
        let (machine, workload) = (&self.machine, &mut self.workload);
        match message.head {
            ToSandbox::Start(_) | ToSandbox::Shell(_) => {
                tracing::warn!("a second start was ignored");
            }
            ToSandbox::Restore(_) => tracing::warn!("what is no shell cannot be restored"),
            ToSandbox::Capture(spec) => {
                let answer = match inbox.claim(1) {
                    Ok(files) => capture::capture(machine, workload.as_ref(), &spec, files),
                    Err(error) => capture::refused(RefusalKind::Host, &error),
                };
                outbox.send(&answer, &[]);
            }
            ToSandbox::Resume { environment } => workload.resume(machine, &environment),
            ToSandbox::Event(head) => workload.deliver(machine, head, message.payload),
            ToSandbox::Credit { request_id, bytes } => workload.credit(&request_id, bytes),
            ToSandbox::Signal { signal } => machine.signal(signal),
            ToSandbox::Stdin => machine.streams.feed(message.payload),
            ToSandbox::Stop => {
                *ending = Ending::Stopped;
                machine.kill();
            }
        }
    }

    /// Sends what the guest wrote last, and how it ended.
    fn say_goodbye(&mut self, outbox: &Arc<Outbox>, ending: Ending) {
        let machine = &mut self.machine;
        let status = machine.wait(None).unwrap_or(ExitStatus::Code(0));
        machine.streams.drain();
        machine.streams.flusher(outbox).flush();
        machine.memory.stop.store(true, Ordering::Relaxed);
        let reason = if machine.memory.exceeded.load(Ordering::SeqCst) {
            ExitReason::OutOfMemory
        } else if ending == Ending::Stopped {
            ExitReason::Stopped
        } else {
            ExitReason::Itself
        };
        let status = match status {
            ExitStatus::Code(code) => GuestExit::Code(i32::from(code)),
            ExitStatus::Signal { number, .. } => GuestExit::Signal(i32::from(number)),
        };
        let max_memory_bytes = machine.system.memory.highest();
        outbox.send(
            &FromSandbox::Exited {
                status,
                reason,
                max_memory_bytes,
            },
            &[],
        );
    }
}
