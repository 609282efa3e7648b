//! One node elsewhere, as the seam: every role by calls on its link.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use proto_node::{
    Begun, Body, BoxFuture, Capacity, CapacityKind, CapacityView, Code, CodeError, CodeRef,
    FunctionSpec, Heard, Invoke, InvokeError, InvokeHead, LogRecord, LogSource, LogSubscription,
    Logs, NoSnapshot, Nothing, PieceSource, Pieces, Reply, ReplyPiece, Revision, Revisions, Taken,
    TargetError,
};
use proto_wire::{Call, CallAnswer, Frame};
use tokio::time::timeout;

use crate::address::Address;
use crate::link::{Answers, CallError, ConnectError, Link};

/// How long a node may take for what it does from memory or disk.
const SOON: Duration = Duration::from_secs(30);
/// How long it may take with an event beyond what the event may wait and run: a start is within it.
const BEYOND: Duration = Duration::from_secs(180);
/// How long a preparation, the code's way and the end of a revision may take.
const LONG: Duration = Duration::from_secs(1200);

const NO_LINK: &str = "it is not connected";

/// One node elsewhere.
pub struct Remote {
    address: Address,
    token: Option<String>,
    link: Mutex<Option<Arc<Link>>>,
}

impl Remote {
    /// The node at `address`, which wants `token`. It is not connected yet.
    pub fn new(address: Address, token: Option<String>) -> Self {
        Self {
            address,
            token,
            link: Mutex::new(None),
        }
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Connects anew.
    pub(crate) async fn connect(&self) -> Result<Arc<Link>, ConnectError> {
        let link = Link::open(&self.address, self.token.as_deref()).await?;
        *self.link.lock() = Some(Arc::clone(&link));
        Ok(link)
    }

    fn link(&self) -> Option<Arc<Link>> {
        let link = self.link.lock().clone();
        link.filter(|link| link.is_open())
    }

    async fn ask(&self, call: Call, within: Duration) -> Result<CallAnswer, CallError> {
        let link = self.link().ok_or(CallError::Lost)?;
        let asked = timeout(within, link.ask(&call)).await;
        let answer = asked.map_err(|_| CallError::Refused("it took too long".to_owned()))?;
        answer.inspect_err(|error| self.complain(error))
    }

    fn complain(&self, error: &CallError) {
        if !matches!(error, CallError::Lost) {
            tracing::warn!(node = %self.address, %error, "a call failed");
        }
    }

    /// Asks for something that has no answer but that it is done.
    fn tell(&self, call: Call) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _ = self.ask(call, LONG).await;
        })
    }

    async fn flag(&self, call: Call) -> bool {
        matches!(self.ask(call, SOON).await, Ok(CallAnswer::Flag(true)))
    }

    async fn run(
        &self,
        function: Arc<FunctionSpec>,
        head: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> Result<Reply, InvokeError> {
        let Some(link) = self.link() else {
            return Err(InvokeError::NodeLost { begun: Begun::No });
        };
        let limit = head.queue_time + function.timeout + BEYOND;
        let entry = Entry::new(Arc::clone(&link), taken);
        let call = Call::Invoke {
            event: entry.event,
            function: Box::new(Arc::unwrap_or_clone(function)),
            head: Box::new(head),
        };
        let asking = async {
            let mut answers = link.call(&call, body).await?;
            let answer = answers.answer().await?;
            Ok::<_, CallError>((answers, answer))
        };
        let unknown = InvokeError::NodeLost {
            begun: Begun::Unknown,
        };
        match timeout(limit, asking).await {
            Ok(Ok((answers, CallAnswer::Invoked(Ok(head))))) => {
                let pieces = Pieces::new(RemotePieces { answers, entry });
                Ok(Reply { head, pieces })
            }
            Ok(Ok((_, CallAnswer::Invoked(Err(error))))) => Err(error),
            Ok(Err(CallError::Lost)) => {
                let begun = link.ledger.fate(entry.event).await;
                tracing::warn!(node = %self.address, ?begun, "a node was lost with an event");
                Err(InvokeError::NodeLost { begun })
            }
            Ok(Err(error)) => {
                self.complain(&error);
                Err(unknown)
            }
            Ok(Ok(_)) | Err(_) => Err(unknown),
        }
    }
}

/// An event in the ledger of its session, as long as somebody waits for it.
struct Entry {
    link: Arc<Link>,
    event: u64,
}

impl Entry {
    fn new(link: Arc<Link>, taken: Taken) -> Self {
        let event = link.ledger.open(taken);
        Self { link, event }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.link.ledger.close(self.event);
    }
}

/// The pieces of an answer that has begun.
struct RemotePieces {
    answers: Answers,
    #[expect(dead_code, reason = "keeps the event in the ledger")]
    entry: Entry,
}

impl PieceSource for RemotePieces {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<ReplyPiece, InvokeError>> {
        let lost = InvokeError::NodeLost { begun: Begun::Yes };
        Poll::Ready(match ready!(self.answers.poll_frame(context)) {
            Ok(Frame::Piece(bytes)) => Ok(ReplyPiece::Chunk(bytes)),
            Ok(message) => match message.read() {
                Ok(CallAnswer::Ended(ended)) => ended.map(ReplyPiece::End),
                Ok(_) | Err(_) => Err(lost),
            },
            Err(_) => Err(lost),
        })
    }
}

impl Invoke for Remote {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        event: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>> {
        Box::pin(self.run(function, event, body, taken))
    }
}

impl Revisions for Remote {
    fn prepare(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), NoSnapshot>> {
        Box::pin(async move {
            let call = Call::Prepare(Box::new(Arc::unwrap_or_clone(function)));
            match self.ask(call, LONG).await {
                Ok(CallAnswer::Prepared(prepared)) => prepared,
                Ok(_) => Err(NoSnapshot::NoNode("it answers something else".to_owned())),
                Err(error) => Err(NoSnapshot::NoNode(error.to_string())),
            }
        })
    }

    fn has_snapshot(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, bool> {
        let call = Call::HasSnapshot(Box::new(Arc::unwrap_or_clone(function)));
        Box::pin(self.flag(call))
    }

    fn outdated(&self) -> BoxFuture<'_, BTreeSet<Revision>> {
        Box::pin(async {
            match self.ask(Call::Outdated, SOON).await {
                Ok(CallAnswer::Revisions(revisions)) => revisions,
                Ok(_) | Err(_) => BTreeSet::new(),
            }
        })
    }

    fn forget(&self, revision: Revision) -> BoxFuture<'_, ()> {
        self.tell(Call::Forget(revision))
    }

    fn keep_only(&self, revisions: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        self.tell(Call::KeepOnly(revisions))
    }
}

impl Code for Remote {
    fn has_code(&self, code: CodeRef) -> BoxFuture<'_, bool> {
        Box::pin(self.flag(Call::HasCode(code)))
    }

    fn put_code(&self, code: CodeRef, archive: Body) -> BoxFuture<'_, Result<(), CodeError>> {
        Box::pin(async move {
            let no_node = |reason: String| Err(CodeError::NoNode(reason));
            let Some(link) = self.link() else {
                return no_node(NO_LINK.to_owned());
            };
            let call = Call::PutCode(code);
            let putting = async { link.call(&call, archive).await?.answer().await };
            match timeout(LONG, putting).await {
                Ok(Ok(CallAnswer::Stored(stored))) => stored,
                Ok(Ok(_)) => no_node("it answers something else".to_owned()),
                Ok(Err(error)) => no_node(error.to_string()),
                Err(_) => no_node("it took too long".to_owned()),
            }
        })
    }

    fn remove_code(&self, code: CodeRef) -> BoxFuture<'_, ()> {
        self.tell(Call::RemoveCode(code))
    }

    fn keep_code(&self, codes: BTreeSet<CodeRef>) -> BoxFuture<'_, ()> {
        self.tell(Call::KeepCode(codes))
    }
}

/// A subscription elsewhere; it ends with its connection.
struct RemoteLog {
    link: Arc<Link>,
    answers: Option<Answers>,
}

impl LogSource for RemoteLog {
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>> {
        Box::pin(async {
            if self.answers.is_none() {
                let subscribing = self.link.call(&Call::Subscribe, Body::empty()).await;
                self.answers = subscribing.ok();
            }
            match self.answers.as_mut()?.answer().await {
                Ok(CallAnswer::Record(record)) => Some(Heard::Record(Arc::from(record))),
                Ok(CallAnswer::Lost(count)) => Some(Heard::Lost(count)),
                Ok(_) | Err(_) => None,
            }
        })
    }
}

impl Logs for Remote {
    fn subscribe(&self) -> LogSubscription {
        match self.link() {
            Some(link) => LogSubscription::new(RemoteLog {
                link,
                answers: None,
            }),
            None => Nothing.subscribe(),
        }
    }

    fn stored_logs(&self, function: &str, limit: usize) -> BoxFuture<'_, Vec<LogRecord>> {
        let call = Call::StoredLogs {
            function: function.to_owned(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        Box::pin(async move {
            let mut records = Vec::new();
            let reading = async {
                let mut answers = self.link()?.call(&call, Body::empty()).await.ok()?;
                while let Ok(CallAnswer::Record(record)) = answers.answer().await {
                    if records.len() == limit {
                        break;
                    }
                    records.push(*record);
                }
                Some(())
            };
            let _ = timeout(SOON, reading).await;
            records
        })
    }

    fn remove_logs(&self, function: &str) -> BoxFuture<'_, ()> {
        self.tell(Call::RemoveLogs(function.to_owned()))
    }
}

impl Capacity for Remote {
    fn view(&self) -> BoxFuture<'_, CapacityView> {
        Box::pin(async {
            match self.ask(Call::View, SOON).await {
                Ok(CallAnswer::View(view)) => view,
                Ok(_) | Err(_) => CapacityView::default(),
            }
        })
    }

    fn target(
        &self,
        function: Arc<FunctionSpec>,
        kind: CapacityKind,
        count: u32,
    ) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async move {
            let function = Box::new(Arc::unwrap_or_clone(function));
            let call = Call::Target {
                function,
                kind,
                count,
            };
            match self.ask(call, SOON).await {
                Ok(CallAnswer::Targeted(targeted)) => targeted,
                Ok(_) => Err(TargetError::NoNode("it answers something else".to_owned())),
                Err(error) => Err(TargetError::NoNode(error.to_string())),
            }
        })
    }

    /// A node elsewhere is drained by who runs it.
    fn drain(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
