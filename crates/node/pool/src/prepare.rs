//! Starting a function ahead of its events, for the snapshot that is made on the way.

use std::sync::Arc;
use std::time::Duration;

use proto_node::{FunctionSpec, NoSnapshot, StartKind};
use tokio::sync::oneshot;

use crate::clock;
use crate::decide::{Input, InstanceId, Rejection, TicketId};
use crate::failure::Failure;
use crate::instance::{Init, Instance};
use crate::report::Status;
use crate::shared::{Begin, Seat, Shared};

/// Longest initialisation of a function that is prepared (as AWS has it for SnapStart).
const LIMIT: Duration = Duration::from_secs(130);

/// Starts `function` when its turn has come, lets it be captured, and ends it.
pub(crate) async fn prepare(
    shared: Arc<Shared>,
    function: Arc<FunctionSpec>,
) -> Result<(), NoSnapshot> {
    if shared.launcher.has_snapshot(&function) {
        return Ok(());
    }
    let mut wish = Wish::new(Arc::clone(&shared), Arc::clone(&function));
    let seat = wish.seat().await?;
    if shared.launcher.has_snapshot(&function) {
        return Ok(());
    }
    if let Some(reason) = shared.launcher.given_up(&function) {
        return Err(NoSnapshot::GivenUp(reason));
    }
    let instance = Instance::new(Begin {
        id: seat.id,
        shared,
        function,
        shell: None,
        orders: seat.orders,
    });
    instance.prepare().await
}

/// A preparation from its wish to its end, also if nobody waits for it any more.
struct Wish {
    shared: Arc<Shared>,
    ticket: TicketId,
    answer: oneshot::Receiver<Result<Seat, Rejection>>,
    id: Option<InstanceId>,
}

impl Wish {
    fn new(shared: Arc<Shared>, function: Arc<FunctionSpec>) -> Self {
        let (answer, answered) = oneshot::channel();
        Self {
            ticket: shared.wish(function, answer),
            shared,
            answer: answered,
            id: None,
        }
    }

    async fn seat(&mut self) -> Result<Seat, NoSnapshot> {
        let seat = (&mut self.answer).await.unwrap_or(Err(Rejection::Draining));
        let seat = seat.map_err(|why| match why {
            // It starts all the same when an event comes.
            Rejection::Concurrency => NoSnapshot::GivenUp(why.to_string()),
            _ => NoSnapshot::NotStarted(why.to_string()),
        })?;
        self.id = Some(seat.id);
        Ok(seat)
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        if self.shared.cancel(self.ticket) {
            return;
        }
        // It may have been answered a moment ago.
        let told = self.answer.try_recv().ok().and_then(Result::ok);
        if let Some(id) = self.id.or(told.map(|seat| seat.id)) {
            self.shared.step(Input::Gone(id));
        }
    }
}

impl Instance {
    async fn prepare(mut self) -> Result<(), NoSnapshot> {
        let began = clock::now();
        let limit = began + LIMIT.max(self.function.timeout);
        let mut link = match self.launch(limit).await {
            Ok(link) => link,
            Err(failure) => {
                self.say_start(StartKind::Cold);
                let reason = self.unprepared(StartKind::Cold, failure.status(), Some(failure));
                return Err(NoSnapshot::NotStarted(reason));
            }
        };
        let kind = link.start();
        self.say_start(kind);
        let mut init = self.initialise(link.as_mut(), limit).await;
        let silent = matches!(&init, Init::Failed(failure) if !failure.is_told_by_function());
        if silent && link.origin().is_some() {
            // It may have been what it grew out of.
            self.bury(Some(link)).await;
            self.uncaptured = None;
            link = match self.launch(limit).await {
                Ok(link) => link,
                Err(failure) => {
                    let reason = self.unprepared(kind, failure.status(), Some(failure));
                    return Err(NoSnapshot::NotStarted(reason));
                }
            };
            init = self.initialise(link.as_mut(), limit).await;
        }
        let prepared = match init {
            Init::Ready | Init::Begun(..) => Ok(()),
            Init::Stopped => {
                self.bury(Some(link)).await;
                let why = "it is not wanted any more".to_owned();
                return Err(NoSnapshot::NotStarted(why));
            }
            Init::Failed(failure) => Err((failure.status(), Some(failure))),
            Init::TimedOut => Err((Status::Timeout, None)),
        };
        let took = clock::now() - began;
        let prepared = prepared.map_err(|(status, failure)| {
            self.say_end(kind, took, &status);
            reason(&status, failure)
        });
        self.bury(Some(link)).await;
        self.log.flush();
        if let Err(reason) = prepared {
            // What ended in a capture starts well without.
            return Err(match self.uncaptured.take() {
                Some(reason) => NoSnapshot::GivenUp(reason),
                None => NoSnapshot::NotStarted(reason),
            });
        }
        self.captured().await.map_err(NoSnapshot::GivenUp)
    }

    /// Waits until the snapshot is in place; why there is none.
    async fn captured(&mut self) -> Result<(), String> {
        if let Some(keeping) = self.keeping.take() {
            keeping.await.map_err(|error| error.to_string())??;
        }
        let launcher = &self.shared.launcher;
        if launcher.has_snapshot(&self.function) {
            return Ok(());
        }
        let told = self.uncaptured.take();
        let told = told.or_else(|| launcher.given_up(&self.function));
        Err(told.unwrap_or_else(|| "its runtime did not offer itself".to_owned()))
    }

    fn unprepared(&mut self, kind: StartKind, status: Status, failure: Option<Failure>) -> String {
        self.say_end(kind, Duration::ZERO, &status);
        self.log.flush();
        reason(&status, failure)
    }
}

/// For the one who asks why there is no snapshot.
fn reason(status: &Status, failure: Option<Failure>) -> String {
    let told = match failure {
        Some(Failure::Reported(_, body)) => serde_json::from_slice::<serde_json::Value>(&body)
            .ok()
            .and_then(|body| Some(body.get("errorMessage")?.as_str()?.to_owned())),
        Some(
            Failure::Platform(reason)
            | Failure::Entrypoint(reason)
            | Failure::Unavailable(_, reason),
        ) => Some(reason),
        _ => None,
    };
    let kind = match status {
        Status::Timeout => "Sandbox.Timedout",
        Status::Error(kind) => kind,
    };
    match told {
        Some(told) => format!("{kind}: {told}"),
        None => kind.to_owned(),
    }
}
