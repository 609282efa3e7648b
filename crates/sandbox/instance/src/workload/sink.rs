//! What becomes of what a runtime does, in the thread of the guest's that does it: answers go to the node at once, what
//! changes the sandbox's state to its owner.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kernel_syscall::System;
use proto_sandbox::FromSandbox;
use sandbox_runtime::RuntimeEvent;

use crate::machine::Machine;
use crate::notices::{Notice, Notices, RuntimeNotice};
use crate::outbox::Outbox;
use crate::stdio::Flusher;
use crate::workload::Ends;

/// Where the Runtime API tells what the runtime does.
pub(crate) fn sink(machine: &Machine, ends: &Ends) -> sandbox_api::Sink {
    let mut sink = Sink {
        system: Arc::downgrade(&machine.system),
        notices: Arc::clone(&ends.notices),
        outbox: Arc::clone(&ends.outbox),
        flusher: machine.streams.flusher(&ends.outbox),
        exits: Exits::Untold,
    };
    Box::new(move |event| sink.take(event))
}

/// What becomes of events, in threads of the guest's.
struct Sink {
    system: Weak<System>,
    notices: Arc<Notices>,
    outbox: Arc<Outbox>,
    flusher: Flusher,
    exits: Exits,
}

/// Whether it was told how often the guest was left until its first answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exits {
    Untold,
    Told,
}

impl Sink {
    /// How often the guest was left, for the first answer.
    fn exits(&mut self) -> BTreeMap<String, u64> {
        if std::mem::replace(&mut self.exits, Exits::Told) == Exits::Told {
            return BTreeMap::new();
        }
        let system = self.system.upgrade();
        let counts = system.map(|system| system.kernel.platform.exits());
        let counts = counts.into_iter().flatten();
        counts
            .map(|(exit, count)| (exit.name().to_owned(), count))
            .collect()
    }

    fn take(&mut self, event: RuntimeEvent) {
        if matches!(event, RuntimeEvent::Ready | RuntimeEvent::Begun { .. })
            && let Some(system) = self.system.upgrade()
        {
            // Initialisation is over: nobody may ask for a snapshot any more.
            system.snapshot_requests.close();
        }
        let now = Instant::now();
        let notice = match &event {
            RuntimeEvent::Connected => Some(RuntimeNotice::Connected(now)),
            RuntimeEvent::RestorePoint => Some(RuntimeNotice::RestorePoint(now)),
            RuntimeEvent::Ready => Some(RuntimeNotice::Ready(now)),
            RuntimeEvent::Idle => Some(RuntimeNotice::Idle),
            _ => None,
        };
        match notice {
            Some(notice) => self.notices.tell(Notice::Runtime(notice)),
            None => self.say(event),
        }
    }

    /// Says what the node is to hear at once, after what the guest wrote before.
    fn say(&mut self, event: RuntimeEvent) {
        self.flusher.flush();
        if let RuntimeEvent::Begun { hooks } = event {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let [nanoseconds, at] = [hooks, now.unwrap_or_default()]
                .map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            let begun = FromSandbox::Begun { nanoseconds, at };
            return self.outbox.send(&begun, &[]);
        }
        let Some((mut message, payload)) = event.into_message() else {
            return;
        };
        if let FromSandbox::Response { exits, .. } | FromSandbox::ResponseEnd { exits, .. } =
            &mut message
        {
            *exits = self.exits();
        }
        self.outbox.send(&message, &payload);
    }
}
