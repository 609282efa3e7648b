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
/// A node tells it before the first byte of the event leaves for a sandbox. If that cannot be heard the event must not
/// begin: whoever gave it will take it for not begun, and run it elsewhere.
pub struct Taken(Option<Hear>);

type Hear = Box<dyn FnOnce() -> Result<(), Unheard> + Send + Sync>;

/// Whoever gave the event does not hear that it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody hears that the event is taken")]
pub struct Unheard;

impl Taken {
    /// Nobody asks.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// `hear` is called once, and must not wait for an answer.
    pub fn new(hear: impl FnOnce() -> Result<(), Unheard> + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(hear)))
    }

    /// Two of which either tells, once: for who may have to try twice. What the first hears, the second hears too.
    pub fn split(self) -> (Self, Self) {
        let Some(hear) = self.0 else {
            return (Self(None), Self(None));
        };
        let shared = Arc::new(Mutex::new(Word::Untold(hear)));
        let half = |shared: Arc<Mutex<Word>>| {
            Self::new(move || {
                let mut word = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let told = match std::mem::replace(&mut *word, Word::Told(Err(Unheard))) {
                    Word::Untold(hear) => hear(),
                    Word::Told(told) => told,
                };
                *word = Word::Told(told);
                told
            })
        };
        (half(Arc::clone(&shared)), half(shared))
    }

    /// Says that the event is about to be handed over.
    ///
    /// # Errors
    /// Nobody hears it: the event must not begin.
    pub fn tell(self) -> Result<(), Unheard> {
        self.0.map_or(Ok(()), |hear| hear())
    }
}

/// What two halves of a [`Taken`] share.
enum Word {
    Untold(Hear),
    Told(Result<(), Unheard>),
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
    /// `taken` is told once, right before the event is first handed to an instance; if nobody hears it the event does
    /// not begin and the answer is that the node is lost with it, not begun. Dropping the future or the
    /// reply leaves the node consistent: an event that waits is forgotten, one that runs may do so to its end.
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        event: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>>;
}
