//! Nodes across real sockets: what goes over, and what happens to events when one goes away.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base_eventually::eventually_in_task;
use bytes::Bytes;
use control_nodes::{Address, Nodes};
use node_serve::{ListenAddress, Server};
use proto_node::{
    Begun, Body, BoxFuture, Catalogue, Code, CodeError, CodeRef, FunctionSpec, Invoke, InvokeEnd,
    InvokeError, InvokeHead, InvokeResult, LogTail, Parts, Pieces, Reply, ReplyHead, ReplyPiece,
    ResponseMode, Revision, StartKind, Taken,
};
use tokio::runtime::Runtime;

/// Longest answer here.
const LIMIT: usize = 8 << 20;

/// A node that echoes; one that is stubborn does not answer: handler `begun` says that it is taken before, `waits` not.
struct Echo {
    stubborn: bool,
    code: AtomicUsize,
    begun: AtomicUsize,
}

impl Invoke for Echo {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        _: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>> {
        Box::pin(async move {
            if self.code.load(Ordering::SeqCst) == 0 {
                return Err(InvokeError::CodeMissing);
            }
            let event = body.read(LIMIT).await.map_err(InvokeError::Event)?;
            if self.stubborn {
                self.begun.fetch_add(1, Ordering::SeqCst);
                match function.handler.as_str() {
                    "begun" => drop(taken.tell()),
                    _ => return std::future::pending().await,
                }
                return std::future::pending().await;
            }
            let _ = taken.tell();
            let (writer, pieces) = Pieces::pipe(1);
            tokio::spawn(async move {
                let mut event = Body::whole(event);
                while let Ok(Some(piece)) = event.next().await {
                    writer.send(ReplyPiece::Chunk(piece)).await?;
                }
                let end = InvokeEnd::default();
                writer.send(ReplyPiece::End(Box::new(end))).await
            });
            let head = ReplyHead {
                executed_version: function.version.clone(),
                start: StartKind::Warm,
                mode: ResponseMode::Streaming,
                content_type: None,
            };
            Ok(Reply { head, pieces })
        })
    }
}

impl Code for Echo {
    fn has_code(&self, _: CodeRef) -> BoxFuture<'_, bool> {
        let has = self.code.load(Ordering::SeqCst) > 0;
        Box::pin(async move { has })
    }

    fn put_code(&self, code: CodeRef, archive: Body) -> BoxFuture<'_, Result<(), CodeError>> {
        Box::pin(async move {
            let bytes = archive.read(LIMIT).await.map_err(CodeError::Broken)?;
            assert_eq!(bytes.len() as u64, code.bytes);
            self.code.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    }

    fn remove_code(&self, _: CodeRef) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn keep_code(&self, _: BTreeSet<CodeRef>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// An archive for every digest.
struct All;

impl Catalogue for All {
    fn revisions(&self) -> BTreeSet<Revision> {
        BTreeSet::new()
    }

    fn functions(&self, _: &BTreeSet<Revision>) -> Vec<Arc<FunctionSpec>> {
        Vec::new()
    }

    fn codes(&self) -> BTreeSet<CodeRef> {
        BTreeSet::new()
    }

    fn archive(&self, code: CodeRef) -> BoxFuture<'_, Option<Body>> {
        let bytes = Bytes::from(vec![7; usize::try_from(code.bytes).unwrap()]);
        Box::pin(async { Some(Body::whole(bytes)) })
    }
}

/// A node in a runtime of its own, which takes everything with it when it ends.
fn serve(path: &Path, stubborn: bool) -> (Runtime, Arc<Echo>) {
    let echo = Arc::new(Echo {
        stubborn,
        code: AtomicUsize::new(0),
        begun: AtomicUsize::new(0),
    });
    let node = Arc::new(Parts {
        invoke: Arc::clone(&echo) as _,
        code: Arc::clone(&echo) as _,
        ..Parts::default()
    });
    let runtime = Runtime::new().unwrap();
    let place = ListenAddress::Unix(path.to_owned());
    let server = runtime.block_on(Server::bind(&place, None, node)).unwrap();
    runtime.spawn(server.run(std::future::pending()));
    (runtime, echo)
}

fn function(handler: &str) -> Arc<FunctionSpec> {
    Arc::new(FunctionSpec {
        revision: Revision("r".into()),
        name: "f".into(),
        version: "$LATEST".into(),
        arn: "arn".into(),
        account: "000000000000".into(),
        region: "us-east-1".into(),
        runtime: "python3.11".into(),
        handler: handler.into(),
        architecture: "x86_64".into(),
        memory_mb: 128,
        timeout: Duration::from_secs(3),
        ephemeral_storage_mb: 512,
        environment: Default::default(),
        code: CodeRef {
            sha256: "ab".repeat(32),
            bytes: 300_000,
        },
        snap_start: Default::default(),
        isolation: Default::default(),
        platform: Default::default(),
        log_group: "/aws/lambda/f".into(),
    })
}

async fn invoke(nodes: &Nodes, handler: &str, event: Bytes) -> Result<InvokeResult, InvokeError> {
    let head = InvokeHead {
        request_id: "8476a536".into(),
        invoked_arn: "arn".into(),
        client_context: None,
        trace_id: None,
        log_tail: LogTail::None,
        queue_time: Duration::from_secs(20),
    };
    let body = Body::whole(event);
    let reply = nodes.invoke(function(handler), head, body, Taken::nobody());
    Ok(reply.await?.whole(LIMIT).await?.result)
}

fn address(path: &Path) -> Address {
    Address::Unix(path.to_owned())
}

#[test]
fn events_and_code_go_over_in_pieces() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("node");
    let (_node, echo) = serve(&socket, false);
    let here = Runtime::new().unwrap();
    here.block_on(async {
        let nodes = Nodes::connect([address(&socket)].into(), None, Arc::new(All)).await;
        assert_eq!(nodes.connected().len(), 1);
        for length in [0, 10, 3_000_000] {
            let event = Bytes::from(vec![b'x'; length]);
            let answer = invoke(&nodes, "echo", event.clone()).await;
            assert_eq!(answer, Ok(InvokeResult::Success(event)));
        }
        assert_eq!(echo.code.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn what_a_lost_node_had_not_begun_runs_elsewhere_and_what_it_had_does_not() {
    let place = tempfile::tempdir().unwrap();
    let (one, two) = (place.path().join("one"), place.path().join("two"));
    let (lost, stubborn) = serve(&one, true);
    let here = Runtime::new().unwrap();
    here.block_on(async {
        let both = BTreeSet::from([address(&one), address(&two)]);
        let nodes = Arc::new(Nodes::connect(both, None, Arc::new(All)).await);
        assert_eq!(nodes.connected(), [&address(&one)]);
        let begin = |handler: &'static str| {
            let nodes = Arc::clone(&nodes);
            tokio::spawn(async move { invoke(&nodes, handler, Bytes::from_static(b"1")).await })
        };
        let (begun, waits) = (begin("begun"), begin("waits"));
        let both = async || stubborn.begun.load(Ordering::SeqCst) == 2;
        eventually_in_task("the node has both events", both).await;
        let (_other, _) = serve_from_a_thread(&two);
        let there = async || nodes.connected().len() == 2;
        eventually_in_task("the other node is there", there).await;
        lost.shutdown_background();
        let begun = begun.await.unwrap();
        assert_eq!(begun, Err(InvokeError::NodeLost { begun: Begun::Yes }));
        let answer = InvokeResult::Success(Bytes::from_static(b"1"));
        assert_eq!(waits.await.unwrap(), Ok(answer));
        std::mem::forget(_other);
    });
}

/// A runtime cannot be made to wait within another.
fn serve_from_a_thread(path: &Path) -> (Runtime, Arc<Echo>) {
    let path = path.to_owned();
    std::thread::spawn(move || serve(&path, false))
        .join()
        .unwrap()
}
