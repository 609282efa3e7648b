//! The life of one instance, as a task: launch, initialise, one event after another, end.
//!
//! ```text
//! launch ─▶ initialise (start.rs) ─▶ idle ◀──▶ event (serve.rs) ─▶ … ─▶ kill ─▶ Gone
//!                         └─ failed or too long ─▶ with an event: launch again inside it
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node_logs::InstanceLog;
use node_runtimes::late_environment;
use proto_node::{FunctionSpec, StartKind, Timings};
use proto_sandbox::ToSandbox;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::clock;
use crate::decide::{Input, InstanceId};
use crate::failure::Failure;
use crate::invocation::{After, Invocation, Order};
use crate::launch::Link;
use crate::report::{self, Phase, Status};
use crate::shared::{Begin, Shared};

/// Starts that may break before an event is refused: two from a snapshot, which is out of use then, and one without.
const STARTS: u8 = 3;

/// How the instance came up; told with its first event.
#[derive(Debug, Default)]
pub(crate) struct Start {
    pub(crate) stages: Timings,
    /// From launch to the first event.
    pub(crate) took: Duration,
    /// For REPORT: `Init Duration`, if initialisation was not part of the event.
    pub(crate) reported: Option<Duration>,
    /// The same, if a snapshot was restored.
    pub(crate) restored: Option<Duration>,
    /// How often guest code was left until the first answer, by reason.
    pub(crate) exits: BTreeMap<String, u64>,
}

pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) function: Arc<FunctionSpec>,
    pub(crate) orders: UnboundedReceiver<Order>,
    pub(crate) log: InstanceLog,
    pub(crate) stream: String,
    /// In which it comes up the first time; none once that was tried.
    pub(crate) shell: Option<Option<InstanceId>>,
    pub(crate) start: Option<Start>,
    pub(crate) max_memory_bytes: u64,
    /// When the launcher was asked, and how long it took.
    pub(crate) launched: Instant,
    pub(crate) launching: Duration,
    /// The event that came along when it was restored, and is not begun.
    pub(crate) taken: Option<Invocation>,
    /// A snapshot of it that is being put in place.
    pub(crate) keeping: Option<JoinHandle<Result<(), String>>>,
    /// Why it was not captured when it should have been.
    pub(crate) uncaptured: Option<String>,
}

/// How an instance ended.
enum Life {
    /// With this sandbox, if there was one.
    Over(Option<Box<dyn Link>>),
    /// The sandbox broke, or the snapshot was no good, before there was an event: once more.
    Broken(Failure),
}

/// What became of an initialisation.
pub(crate) enum Init {
    Ready,
    /// With an event that it took along, since then.
    Begun(Box<Invocation>, Instant),
    TimedOut,
    Failed(Failure),
    Stopped,
}

impl Instance {
    pub(crate) fn new(begin: Begin) -> Self {
        let Begin {
            id,
            shared,
            function,
            shell,
            orders,
        } = begin;
        let stream = clock::stream(&function.version);
        let log = InstanceLog::new(
            Arc::clone(&shared.hub),
            Arc::clone(&function),
            stream.clone(),
        );
        let start = Some(Start::default());
        Self {
            id,
            shared,
            function,
            orders,
            log,
            stream,
            shell: Some(shell),
            start,
            max_memory_bytes: 0,
            launched: clock::now(),
            launching: Duration::ZERO,
            taken: None,
            keeping: None,
            uncaptured: None,
        }
    }

    /// Runs the instance until nothing of it is left.
    pub(crate) async fn run(mut self) {
        let link = self.live().await;
        self.bury(link).await;
        self.log.flush();
        self.shared.step(Input::Gone(self.id));
        // From here on no order can come; events that came too late go elsewhere.
        while let Ok(order) = self.orders.try_recv() {
            if let Order::Invoke(invocation) = order {
                self.shared.give_back(*invocation);
            }
        }
    }

    async fn live(&mut self) -> Option<Box<dyn Link>> {
        let mut starts = 1;
        loop {
            match self.come_up().await {
                Life::Over(link) => return link,
                Life::Broken(_) if starts < STARTS => starts += 1,
                Life::Broken(failure) => {
                    self.fail_oldest(failure);
                    return None;
                }
            }
        }
    }

    async fn come_up(&mut self) -> Life {
        let launched = clock::now();
        let limit = launched + self.shared.init_timeout;
        let mut link = match self.launch(limit).await {
            Ok(link) => link,
            Err(failure) => {
                self.say_start(StartKind::Cold);
                return Life::Over(self.start_failed(None, failure, launched));
            }
        };
        self.say_start(link.start());
        let link = match self.initialise(link.as_mut(), limit).await {
            init @ (Init::Ready | Init::Begun(..)) => {
                let up = match &init {
                    Init::Begun(_, at) => *at,
                    _ => clock::now(),
                };
                let took = up.saturating_duration_since(launched);
                let restored = link.start() == StartKind::Restored;
                if restored {
                    self.shared.launcher.came_up(&self.function);
                    self.log.platform(&report::restore_report(took, None));
                }
                if let Some(start) = &mut self.start {
                    start.took = took;
                    (start.reported, start.restored) = if restored {
                        (None, Some(took))
                    } else {
                        (Some(took), None)
                    };
                }
                let after = match init {
                    Init::Begun(invocation, at) => {
                        self.run_begun(link.as_mut(), *invocation, at).await
                    }
                    _ => {
                        self.shared.step(Input::Started(self.id));
                        After::Keep
                    }
                };
                if after == After::Keep {
                    self.serve(link.as_mut()).await;
                }
                Some(link)
            }
            Init::Failed(failure) if failure.is_worth_another(link.start()) => {
                self.set_aside(link, launched, &failure).await;
                return Life::Broken(failure);
            }
            // A hook that fails after a restore is told as it is: there is no initialisation to repeat.
            Init::Failed(failure)
                if failure.of_function() && link.start() != StartKind::Restored =>
            {
                let status = failure.status();
                self.try_again(link, launched, &status).await
            }
            Init::Failed(failure) => self.start_failed(Some(link), failure, launched),
            Init::TimedOut => self.try_again(link, launched, &Status::Timeout).await,
            Init::Stopped => Some(link),
        };
        Life::Over(link)
    }

    /// Ends a sandbox that broke, and sees to it that the next is not the same.
    async fn set_aside(&mut self, link: Box<dyn Link>, launched: Instant, failure: &Failure) {
        let (kind, status) = (link.start(), failure.status());
        self.say_end(kind, clock::now() - launched, &status);
        self.bury(Some(link)).await;
        if kind == StartKind::Restored {
            let reason = format!("a restored instance broke before its first event: {status:?}");
            let launcher = Arc::clone(&self.shared.launcher);
            launcher.spoilt(&self.function, &reason).await;
        }
        self.start = Some(Start::default());
    }

    /// Lets a runtime that waits for a snapshot go on.
    pub(crate) fn resume(&self) -> ToSandbox {
        ToSandbox::Resume {
            environment: late_environment(&self.function, &self.stream),
        }
    }

    /// Writes the first line of an instance.
    pub(crate) fn say_start(&mut self, kind: StartKind) {
        let version = self.shared.launcher.runtime_version(&self.function);
        let region = &self.function.region;
        self.log.platform(&match kind {
            StartKind::Restored => report::restore_start(&version, region),
            StartKind::Cold | StartKind::Warm => report::init_start(&version, region),
        });
    }

    /// Writes why an instance did not come up.
    pub(crate) fn say_end(&mut self, kind: StartKind, took: Duration, how: &Status) {
        self.log.platform(&match kind {
            StartKind::Restored => report::restore_report(took, Some(how)),
            StartKind::Cold | StartKind::Warm => report::init_report(took, Phase::Init, how),
        });
    }

    /// Tells the event that waits longest why there is no instance for it.
    fn start_failed(
        &mut self,
        link: Option<Box<dyn Link>>,
        failure: Failure,
        launched: Instant,
    ) -> Option<Box<dyn Link>> {
        let took = clock::now() - launched;
        let kind = link.as_ref().map_or(StartKind::Cold, |link| link.start());
        self.say_end(kind, took, &failure.status());
        if let Some(start) = &mut self.start {
            start.took = took;
        }
        self.fail_oldest(failure);
        link
    }

    /// Gives the event that waits longest the reason why it has no instance.
    fn fail_oldest(&mut self, failure: Failure) {
        if let Failure::Platform(message) = &failure {
            tracing::error!(
                function = self.function.name,
                message,
                "a sandbox could not be made"
            );
        }
        if let Some(invocation) = self.taken.take() {
            return self.fail_event(invocation, failure);
        }
        self.shared.step(Input::StartFailed(self.id));
        if let Ok(Order::Invoke(invocation)) = self.orders.try_recv() {
            self.fail_event(*invocation, failure);
        }
    }

    /// Gives an initialisation that went wrong up for one inside an event, if one waits.
    async fn try_again(
        &mut self,
        link: Box<dyn Link>,
        launched: Instant,
        how: &Status,
    ) -> Option<Box<dyn Link>> {
        self.say_end(link.start(), clock::now() - launched, how);
        self.bury(Some(link)).await;
        self.shared.step(Input::InitAgain(self.id));
        self.start_inside_event(launched).await
    }

    /// Initialises again, this time within the time limit of an event (as AWS does).
    async fn start_inside_event(&mut self, launched: Instant) -> Option<Box<dyn Link>> {
        let Ok(Order::Invoke(invocation)) = self.orders.try_recv() else {
            return None;
        };
        self.start = Some(Start {
            took: clock::now() - launched,
            ..Start::default()
        });
        let limit = clock::now() + self.function.timeout;
        let mut link = match self.launch(limit).await {
            Ok(link) => link,
            Err(failure) => {
                let took = clock::now() - launched;
                self.log
                    .platform(&report::init_report(took, Phase::Invoke, &failure.status()));
                self.fail_event(*invocation, failure);
                return None;
            }
        };
        if self.run_event(link.as_mut(), *invocation).await == After::Keep {
            self.serve(link.as_mut()).await;
        }
        Some(link)
    }

    /// Takes events until told to stop or broken.
    async fn serve(&mut self, link: &mut dyn Link) {
        loop {
            let message = tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Invoke(invocation)) => match self.run_event(link, *invocation).await {
                        After::Keep => continue,
                        After::End | After::PassOn => return,
                    },
                    Some(Order::Stop) | None => return,
                },
                message = link.receive() => message,
            };
            // A frozen guest is silent; what it said just before may still come.
            let Ok(Some(message)) = message else { return };
            if self
                .note(message.head, &Bytes::from(message.payload))
                .is_some()
            {
                return;
            }
        }
    }

    pub(crate) async fn bury(&mut self, link: Option<Box<dyn Link>>) {
        let Some(link) = link else { return };
        let said = link.kill().await;
        if !said.is_empty() {
            tracing::warn!(function = self.function.name, said, "a sandbox complained");
        }
    }
}
