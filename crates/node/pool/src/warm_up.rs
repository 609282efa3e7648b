//! Events that a program handles before it is captured, so that what they load and compile is in the
//! snapshot. Our own runtimes do this inside themselves.

use std::time::Duration;

use bytes::Bytes;
use proto_node::{InvokeHead, LogTail, WARM_UP_VARIABLE};
use proto_sandbox::{FromSandbox, ToSandbox};
use serde_json::value::RawValue;
use tokio::time::timeout_at;

use crate::clock;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::invocation::event_head;
use crate::launch::Link;

/// Longest time for one of them.
const LIMIT: Duration = Duration::from_secs(10);

impl Instance {
    /// Has a program that waits for its first event handle those of [`WARM_UP_VARIABLE`]. Answers go
    /// nowhere; afterwards it waits, frozen, as it did before.
    pub(crate) async fn warm_up(&mut self, link: &mut dyn Link) -> Result<(), Failure> {
        let listed = self.function.environment.get(WARM_UP_VARIABLE).cloned();
        let events: Vec<Box<RawValue>> = listed
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        for event in events {
            let limit = clock::now() + LIMIT.min(self.function.timeout);
            let payload = Bytes::from(String::from(Box::<str>::from(event)));
            let request = InvokeHead {
                request_id: uuid::Uuid::new_v4().to_string(),
                invoked_arn: self.function.arn.clone(),
                client_context: None,
                trace_id: None,
                log_tail: LogTail::None,
                queue_time: Duration::ZERO,
            };
            let head = ToSandbox::Event(event_head(&self.function, &request));
            let sent = link.send(head, payload).await;
            sent.map_err(|error| Failure::Platform(error.to_string()))?;
            let handled = timeout_at(limit.into(), self.until_next(link)).await;
            self.log.flush();
            handled.unwrap_or_else(|_| {
                let reason = "an event for warming up took too long";
                Err(Failure::Platform(reason.to_owned()))
            })?;
        }
        Ok(())
    }

    /// Listens until the program asks for its next event.
    async fn until_next(&mut self, link: &mut dyn Link) -> Result<(), Failure> {
        loop {
            let message = match link.receive().await {
                Ok(Some(message)) => message,
                Ok(None) => return Err(Failure::Vanished),
                Err(error) => return Err(Failure::Platform(error.to_string())),
            };
            let asks = matches!(message.head, FromSandbox::Usage { .. });
            if let Some(failure) = self.note(message.head, &Bytes::from(message.payload)) {
                return Err(failure);
            }
            if asks {
                return Ok(());
            }
        }
    }
}
