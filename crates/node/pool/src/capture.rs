//! The moment in which an instance can be captured, on its way to its first event.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proto_sandbox::{AfterCapture, CaptureSpec, FromSandbox, RefusalKind, ToSandbox};
use tokio::time::timeout_at;

use crate::clock;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::launch::{Capture, Link};

/// Longest time that a sandbox may take to be captured; its first event waits for it.
const CAPTURE_LIMIT: Duration = Duration::from_secs(10);

impl Instance {
    /// Has the frozen guest captured if a snapshot of it is wanted, then lets it go on.
    pub(crate) async fn at_restore_point(
        &mut self,
        link: &mut dyn Link,
        limit: Instant,
    ) -> Result<(), Failure> {
        let wanted = self.shared.launcher.capture(&self.function).await;
        if let Some(capture) = wanted {
            self.capture(link, capture, limit).await?;
        }
        let resume = self.resume();
        link.send(resume, Bytes::new())
            .await
            .map_err(|error| Failure::Platform(error.to_string()))
    }

    async fn capture(
        &mut self,
        link: &mut dyn Link,
        capture: Box<dyn Capture>,
        limit: Instant,
    ) -> Result<(), Failure> {
        let limit = limit.min(clock::now() + CAPTURE_LIMIT);
        let spec = CaptureSpec {
            max_bytes: capture.max_bytes(),
            after: AfterCapture::Keep,
        };
        let descriptors = match capture.descriptors() {
            Ok(descriptors) => descriptors,
            Err(error) => {
                capture.give_up(RefusalKind::Host, &error.to_string());
                return Ok(());
            }
        };
        if let Err(error) = link.send_with(ToSandbox::Capture(spec), descriptors).await {
            capture.give_up(RefusalKind::Host, &error.to_string());
            return Ok(());
        }
        loop {
            let message = match timeout_at(limit.into(), link.receive()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Err(Failure::Vanished),
                Ok(Err(error)) => return Err(Failure::Platform(error.to_string())),
                Err(_) => {
                    // Its answer would be taken for another's.
                    capture.give_up(RefusalKind::Busy, "it took too long");
                    return Err(Failure::Platform("a capture took too long".to_owned()));
                }
            };
            match message.head {
                FromSandbox::Captured { nanoseconds, .. } => {
                    // The first event does not wait for the disk.
                    let keeping = capture.keep(Duration::from_nanos(nanoseconds));
                    self.keeping = Some(tokio::spawn(keeping));
                    return Ok(());
                }
                FromSandbox::Refused { kind, reason } => {
                    capture.give_up(kind, &reason);
                    return Ok(());
                }
                head => {
                    if let Some(failure) = self.note(head, &Bytes::from(message.payload)) {
                        return Err(failure);
                    }
                }
            }
        }
    }
}
