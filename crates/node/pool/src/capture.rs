//! The moments in which an instance can be captured, on its way to its first event.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto_sandbox::{CaptureSpec, FromSandbox, RefusalKind, ToSandbox};
use tokio::time::timeout_at;

use crate::clock;
use crate::decide::Input;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::launch::{Capture, CapturePoint, Link};

/// Longest time that a sandbox may take to be captured; its first event waits for it.
const CAPTURE_LIMIT: Duration = Duration::from_secs(10);

/// What a guest does that was to be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    /// It waits for what comes after.
    Waits,
    /// It had to run a little to come to rest, and asked for its first event.
    Ready,
}

impl Instance {
    /// Has the frozen guest captured if a snapshot of it is wanted, then lets it go on.
    pub(crate) async fn at_restore_point(
        &mut self,
        link: &mut dyn Link,
        moment: CapturePoint,
    ) -> Result<Guest, Failure> {
        let guest = self.capture_if_wanted(link, moment).await?;
        let resume = self.resume();
        let sent = link.send(resume, Bytes::new()).await;
        sent.map_err(|error| Failure::Platform(error.to_string()))?;
        Ok(guest)
    }

    /// The same for a guest that was frozen at its first event: what thaws it is the event.
    pub(crate) async fn at_first_event(&mut self, link: &mut dyn Link) -> Result<Guest, Failure> {
        self.capture_if_wanted(link, CapturePoint::FirstEvent).await
    }

    async fn capture_if_wanted(
        &mut self,
        link: &mut dyn Link,
        moment: CapturePoint,
    ) -> Result<Guest, Failure> {
        let launcher = &self.shared.launcher;
        let Some(capture) = launcher.capture(&self.function, moment).await else {
            return Ok(Guest::Waits);
        };
        if moment == CapturePoint::FirstEvent
            && let Err(failure) = self.warm_up(link).await
        {
            // The next start of it shall do better.
            self.give_up(
                capture,
                RefusalKind::Guest,
                "an event for warming it up failed",
            );
            return Err(failure);
        }
        self.capture(link, capture, moment).await
    }

    /// There will be no snapshot of this instance.
    fn give_up(&mut self, capture: Box<dyn Capture>, kind: RefusalKind, reason: &str) {
        capture.give_up(kind, reason);
        self.uncaptured = Some(reason.to_owned());
    }

    /// Puts a snapshot in place beside what the instance does: the first event does not wait for the disk.
    fn keep(&mut self, capture: Box<dyn Capture>, stood_still: Duration) {
        let (shared, revision) = (Arc::clone(&self.shared), self.function.revision.clone());
        let keeping = capture.keep(stood_still);
        self.keeping = Some(tokio::spawn(async move {
            let kept = keeping.await;
            if kept.is_ok() {
                shared.step(Input::Captured(revision));
            }
            kept
        }));
    }

    async fn capture(
        &mut self,
        link: &mut dyn Link,
        mut capture: Box<dyn Capture>,
        moment: CapturePoint,
    ) -> Result<Guest, Failure> {
        let mut guest = Guest::Waits;
        if let Some(origin) = link.origin() {
            capture.over(&origin).await;
        }
        let limit = clock::now() + CAPTURE_LIMIT;
        let spec = CaptureSpec {
            max_bytes: capture.max_bytes(),
            pages: capture.pages(),
        };
        let descriptors = match capture.descriptors() {
            Ok(descriptors) => descriptors,
            Err(error) => {
                self.give_up(capture, RefusalKind::Host, &error.to_string());
                return Ok(guest);
            }
        };
        if let Err(error) = link.send_with(ToSandbox::Capture(spec), descriptors).await {
            self.give_up(capture, RefusalKind::Guest, &error.to_string());
            return Err(Failure::Vanished);
        }
        loop {
            let message = match timeout_at(limit.into(), link.receive()).await {
                Ok(Ok(Some(message))) => message,
                // Another start follows; it shall not come to the same end.
                Ok(Ok(None)) => {
                    let reason = "the sandbox ended while it was captured";
                    self.give_up(capture, RefusalKind::Guest, reason);
                    return Err(Failure::Vanished);
                }
                Ok(Err(error)) => {
                    self.give_up(capture, RefusalKind::Guest, &error.to_string());
                    return Err(Failure::Platform(error.to_string()));
                }
                Err(_) => {
                    // Its answer would be taken for another's.
                    self.give_up(capture, RefusalKind::Guest, "it took too long");
                    return Err(Failure::Platform("a capture took too long".to_owned()));
                }
            };
            match message.head {
                FromSandbox::Captured { nanoseconds, .. } => {
                    self.keep(capture, Duration::from_nanos(nanoseconds));
                    return Ok(guest);
                }
                FromSandbox::Refused { kind, reason } => {
                    let kind = match moment {
                        // The end of the initialisation may be a better one.
                        CapturePoint::Asked => RefusalKind::Busy,
                        CapturePoint::Offered | CapturePoint::FirstEvent => kind,
                    };
                    self.give_up(capture, kind, &reason);
                    return Ok(guest);
                }
                head => {
                    if head == FromSandbox::Ready {
                        guest = Guest::Ready;
                    }
                    if let Some(failure) = self.note(head, &Bytes::from(message.payload)) {
                        let reason = "the function ended while it was captured";
                        self.give_up(capture, RefusalKind::Guest, reason);
                        return Err(failure);
                    }
                }
            }
        }
    }
}
