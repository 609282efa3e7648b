//! Which events of a session were taken, by the side connection.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use proto_node::{Begun, Taken};
use proto_wire::TAKEN_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long the end of a side connection is waited for after its main connection broke. A process that was killed has
/// closed both; one that lives and lost its network has not.
const END_WITHIN: Duration = Duration::from_secs(3);

/// How far the side connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// More may come.
    Open,
    /// All that was written was read.
    Ended,
    /// It broke: something may be missing.
    Broken,
}

/// The events of a session that have no answer yet.
#[derive(Debug)]
pub(crate) struct Ledger {
    events: Mutex<Events>,
    reading: watch::Sender<Reading>,
}

#[derive(Debug, Default)]
struct Events {
    next: u64,
    /// Whom to tell that an event was taken; none when that is done.
    open: HashMap<u64, Option<Taken>>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            events: Mutex::default(),
            reading: watch::channel(Reading::Open).0,
        }
    }

    /// A new event.
    pub(crate) fn open(&self, taken: Taken) -> u64 {
        let mut events = self.events.lock();
        events.next += 1;
        let number = events.next;
        events.open.insert(number, Some(taken));
        number
    }

    /// An event has its answer, or nobody waits for it.
    pub(crate) fn close(&self, event: u64) {
        self.events.lock().open.remove(&event);
    }

    fn take(&self, event: u64) {
        let told = self
            .events
            .lock()
            .open
            .get_mut(&event)
            .and_then(Option::take);
        if let Some(taken) = told {
            // It is begun, whoever hears it.
            let _ = taken.tell();
        }
    }

    fn was_taken(&self, event: u64) -> bool {
        matches!(self.events.lock().open.get(&event), Some(None))
    }

    /// Reads the side connection to its end.
    pub(crate) async fn follow(&self, mut side: impl AsyncRead + Unpin) {
        let reading = loop {
            let mut record = [0; TAKEN_BYTES];
            let mut filled = 0;
            let read = loop {
                match side.read(&mut record[filled..]).await {
                    Ok(0) if filled == 0 => break Err(Reading::Ended),
                    Ok(0) | Err(_) => break Err(Reading::Broken),
                    Ok(count) => filled += count,
                }
                if filled == TAKEN_BYTES {
                    break Ok(u64::from_le_bytes(record));
                }
            };
            match read {
                Ok(event) => self.take(event),
                Err(reading) => break reading,
            }
        };
        self.reading.send_replace(reading);
    }

    /// Whether an event had been taken when the main connection broke.
    pub(crate) async fn fate(&self, event: u64) -> Begun {
        let mut reading = self.reading.subscribe();
        let ended = timeout(
            END_WITHIN,
            reading.wait_for(|reading| *reading != Reading::Open),
        );
        let ended = match ended.await {
            Ok(Ok(reading)) => *reading == Reading::Ended,
            Ok(Err(_)) | Err(_) => false,
        };
        match (self.was_taken(event), ended) {
            (true, _) => Begun::Yes,
            (false, true) => Begun::No,
            (false, false) => Begun::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use proto_node::Unheard;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_end_of_the_side_connection_proves_that_an_event_was_not_taken() {
        let half = &[2, 0, 0, 0, 0, 0, 0, 0, 7][..];
        let whole = &half[..8];
        for (heard, not_taken) in [(whole, Begun::No), (half, Begun::Unknown)] {
            let ledger = Ledger::new();
            let (told, tells) = std::sync::mpsc::channel();
            let events: Vec<_> = (1..=3)
                .map(|at| {
                    let told = told.clone();
                    ledger.open(Taken::new(move || told.send(at).map_err(|_| Unheard)))
                })
                .collect();
            ledger.follow(heard).await;
            assert_eq!(tells.try_iter().collect::<Vec<_>>(), [2]);
            assert_eq!(ledger.fate(events[1]).await, Begun::Yes);
            assert_eq!(ledger.fate(events[0]).await, not_taken);
        }
        let silent = Ledger::new();
        let event = silent.open(Taken::nobody());
        assert_eq!(silent.fate(event).await, Begun::Unknown);
        silent.close(event);
    }
}
