//! Running events: the trait, and what goes with an event.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Body, BoxFuture, FunctionSpec, InvokeError, Reply};

/// Whether the caller wants the end of the log with the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogTail {
    /// The `log_tail` of the end may stay empty.
    #[default]
    None,
    /// The last [`crate::LOG_TAIL_BYTES`] bytes of this invocation's log.
    Tail,
}

/// One event for a function, but its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvokeHead {
    /// UUID in the usual text form; the function sees it as its request id.
    pub request_id: String,
    /// ARN by which the caller named the function, with its qualifier if it gave one.
    pub invoked_arn: String,
    /// Client context as JSON text, already decoded from base64.
    pub client_context: Option<String>,
    /// Value for `Lambda-Runtime-Trace-Id` (`Root=1-…;Parent=…;Sampled=…`).
    pub trace_id: Option<String>,
    /// Whether to collect the end of the log.
    pub log_tail: LogTail,
    /// How long from now an instance may take to take the event; after it the node answers
    /// [`InvokeError::Throttled`]. The function's own time limit starts when an instance takes it.
    pub queue_time: Duration,
}

/// Told when an event is handed to an instance: from then on nobody may run it elsewhere.
///
/// A node tells it before the first byte of the event leaves for a sandbox, and waits for nothing.
pub struct Taken(Option<Hear>);

type Hear = Box<dyn FnOnce() + Send + Sync>;

impl Taken {
    /// Nobody asks.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// `hear` is called once, and must not wait.
    pub fn new(hear: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(hear)))
    }

    /// Two of which either tells, once: for who may have to try twice.
    pub fn split(self) -> (Self, Self) {
        let Some(hear) = self.0 else {
            return (Self(None), Self(None));
        };
        let shared = Arc::new(Mutex::new(Some(hear)));
        let half = |shared: Arc<Mutex<Option<Hear>>>| {
            Self::new(move || {
                let hear = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(hear) = hear {
                    hear();
                }
            })
        };
        (half(Arc::clone(&shared)), half(shared))
    }

    /// Says that the event is about to be handed over.
    pub fn tell(self) {
        if let Some(hear) = self.0 {
            hear();
        }
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taken")
    }
}

/// Runs events. Calls may come from any number of tasks at once.
pub trait Invoke: Send + Sync + 'static {
    /// Runs one event: finds or starts an instance and hands it over. Resolves when the head of the reply is known:
    /// as soon as the function began to answer where it streams, when it has answered else.
    ///
    /// `taken` is told once, right before the event is first handed to an instance. Dropping the future or the
    /// reply leaves the node consistent: an event that waits is forgotten, one that runs may do so to its end.
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        event: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>>;
}
