//! Responses that real functions stream, from the guest's socket to whoever reads the reply.

mod agent;

use std::sync::Arc;
use std::time::Duration;

use agent::{Node, value};
use proto_node::{
    FaultKind, FunctionSpec, Heard, InvokeEnd, LogSubscription, Logs, PIECE_BYTES, Reply,
    ReplyPiece, ResponseMode, StartKind,
};
use serde_json::json;

/// Bytes that a function streams: 200 MB.
const LENGTH: usize = 200_000_000;

/// Writes as many bytes as the event says, each piece when the one before is taken.
const HANDLER: &str = "
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.setContentType('text/x');
  const piece = Buffer.alloc(100_000, 'x');
  for (let left = event.bytes; left > 0; left -= piece.length) {
    if (!stream.write(piece.subarray(0, left))) await new Promise((done) => stream.once('drain', done));
  }
  stream.end();
});
";

fn streaming(node: &Node, timeout: Duration) -> Arc<FunctionSpec> {
    let f = node.written("index.js", HANDLER, "nodejs20.x", "index.handler");
    let mut f = Arc::unwrap_or_clone(f);
    f.timeout = timeout;
    Arc::new(f)
}

async fn piece(reply: &mut Reply) -> usize {
    match reply.pieces.next().await {
        Ok(Some(ReplyPiece::Chunk(bytes))) => {
            assert!((1..=PIECE_BYTES).contains(&bytes.len()));
            bytes.len()
        }
        other => panic!("{other:?}"),
    }
}

/// What is left of a reply: how many bytes, and its end.
async fn rest(mut reply: Reply) -> (usize, InvokeEnd) {
    let mut read = 0;
    loop {
        match reply.pieces.next().await.unwrap() {
            Some(ReplyPiece::Chunk(bytes)) => read += bytes.len(),
            Some(ReplyPiece::End(end)) => return (read, *end),
            None => panic!("it has no end"),
        }
    }
}

/// Most memory that a sandbox process of this test ever had, in bytes (proc_pid_status(5)); the guest's is in others.
fn highest_memory() -> u64 {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let kilobytes = entries.filter_map(|entry| {
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()
        };
        let ours = field("PPid:")?.parse() == Ok(std::process::id());
        let sandbox = ours && field("Name:")? == "sandbox";
        sandbox
            .then(|| field("VmHWM:")?.parse::<u64>().ok())
            .flatten()
    });
    1024 * kilobytes.max().expect("there is a sandbox")
}

/// Waits for a line of the log.
async fn until_said(log: &mut LogSubscription, text: &str) {
    loop {
        match log.next().await {
            Some(Heard::Record(record)) if record.message.contains(text) => return,
            Some(_) => {}
            None => panic!("the log has an end"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_megabytes_pass_through_a_sandbox_that_holds_a_few_pieces() {
    let node = Node::start();
    let f = streaming(&node, Duration::from_secs(300));
    let (few, _) = rest(node.begin(&f, json!({ "bytes": 1_000_000 })).await.unwrap()).await;
    assert_eq!(few, 1_000_000);
    let before = highest_memory();
    let mut reply = node.begin(&f, json!({ "bytes": LENGTH })).await.unwrap();
    let head = reply.head.clone();
    assert_eq!(
        (head.mode, head.start),
        (ResponseMode::Streaming, StartKind::Warm)
    );
    assert_eq!(head.content_type.as_deref(), Some("text/x"));
    let first = piece(&mut reply).await;
    // Nobody reads on for a moment: another function is started and answers.
    let other = node.python("def handler(e, c):\n    return e\n");
    assert_eq!(
        value(&node.invoke(&other, json!(1)).await.unwrap()),
        json!(1)
    );
    let (left, end) = rest(reply).await;
    assert_eq!((first + left, end.fault), (LENGTH, None));
    let grown = highest_memory().saturating_sub(before);
    assert!(grown < 8 << 20, "the sandbox grew by {grown} bytes");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_frees_the_function_for_its_next_event() {
    let node = Node::start();
    let f = streaming(&node, Duration::from_secs(300));
    let mut reply = node
        .begin(&f, json!({ "bytes": 50_000_000 }))
        .await
        .unwrap();
    piece(&mut reply).await;
    let mut log = node.agent.subscribe();
    drop(reply);
    until_said(&mut log, "END RequestId").await;
    let next = node.begin(&f, json!({ "bytes": 10 })).await.unwrap();
    let start = next.head.start;
    assert_eq!((rest(next).await.0, start), (10, StartKind::Warm));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_stops_the_function_until_its_time_is_over() {
    let node = Node::start();
    let f = streaming(&node, Duration::from_secs(2));
    let mut log = node.agent.subscribe();
    let mut reply = node.begin(&f, json!({ "bytes": LENGTH })).await.unwrap();
    let first = piece(&mut reply).await;
    until_said(&mut log, "Task timed out").await;
    let (left, end) = rest(reply).await;
    assert_eq!(end.fault.map(|fault| fault.kind), Some(FaultKind::Timeout));
    // What was under way when the reader stopped, and no more.
    assert!(first + left <= 512 << 10, "{first} and {left}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_ones_own_streams_and_ends_with_an_error_in_its_trailers() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::start();
    let program = "#!/usr/bin/python3
import base64, json, os, socket
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
c = socket.create_connection((host, int(port)))
r = c.makefile('rb')
def answer():
    head = {}
    r.readline()
    while (line := r.readline().strip()):
        name, value = line.decode().split(':', 1)
        head[name.lower()] = value.strip()
    return head, r.read(int(head['content-length']))
def chunk(data):
    c.sendall(b'%x\\r\\n%s\\r\\n' % (len(data), data))
while True:
    c.sendall(b'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
    head, body = answer()
    event = json.loads(body)
    c.sendall(f'POST /2018-06-01/runtime/invocation/{head[\"lambda-runtime-aws-request-id\"]}/response HTTP/1.1\\r\\nHost: x\\r\\n'.encode()
        + b'Lambda-Runtime-Function-Response-Mode: streaming\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n')
    for _ in range(event['pieces']): chunk(b'y' * 100000)
    c.sendall(b'0\\r\\n')
    if event['fails']:
        c.sendall(b'Lambda-Runtime-Function-Error-Type: Own.Error\\r\\nLambda-Runtime-Function-Error-Body: '
            + base64.b64encode(b'{\"errorMessage\":\"half way\"}') + b'\\r\\n')
    c.sendall(b'\\r\\n')
    answer()
";
    let f = node.written("bootstrap", program, "provided.al2023", "");
    let path = node.directory_of(&f.code).join("bootstrap");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    for fails in [false, true, false] {
        let event = json!({ "pieces": 30, "fails": fails });
        let (read, end) = rest(node.begin(&f, event).await.unwrap()).await;
        assert_eq!(read, 3_000_000);
        let told = end
            .fault
            .map(|fault| String::from_utf8(fault.body.to_vec()).unwrap());
        assert_eq!(
            told.as_deref(),
            fails.then_some("{\"errorMessage\":\"half way\"}")
        );
    }
    node.end().await;
}
