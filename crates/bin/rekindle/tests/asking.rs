//! Functions that ask to be captured where they are, by writing to `/proc/rekindle/snapshot`.

mod agent;

use std::sync::Arc;

use agent::{Node, value};
use base_eventually::eventually_in_task;
use proto_node::{Revisions as _, SnapStart, StartKind};
use serde_json::json;

/// A module that asks to be captured while it is loaded, again while its runtime may ask for the first
/// event at any time, and again while it works on an event.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_asks_for_a_snapshot_where_there_are_none_goes_on() {
    let node = Node::start();
    let python = "import errno, os, threading\nPATH = '/proc/rekindle/snapshot'\n\
        def ask():\n    try:\n        with open(PATH, 'wb', 0) as f: said = f.write(b'now')\n    \
        except OSError as e: said = errno.errorcode[e.errno]\n    \
        with open(PATH) as f: return [said, f.read().strip()]\n\
        first, other = ask(), []\n\
        t = threading.Thread(target=lambda: other.extend(ask())); t.start()\n\
        def handler(e, c):\n    t.join(); return [first, other, ask()]\n";
    let nodejs = "const fs = require('fs'), PATH = '/proc/rekindle/snapshot';\n\
        const word = () => fs.readFileSync(PATH, 'utf8').trim();\n\
        function ask() { let said = 3; try { fs.writeFileSync(PATH, 'now'); } catch (e) { said = e.code; } return [said, word()]; }\n\
        const later = () => fs.promises.writeFile(PATH, 'now').then(() => 3, e => e.code).then(said => [said, word()]);\n\
        const first = ask(), other = later();\n\
        exports.handler = async () => [first, await other, ask()];\n";
    for (name, text, runtime, handler) in [
        ("app.py", python, "python3.11", "app.handler"),
        ("index.js", nodejs, "nodejs20.x", "index.handler"),
    ] {
        let f = node.written(name, text, runtime, handler);
        let outcome = node.invoke(&f, json!(1)).await.unwrap();
        // The name that both have for EOPNOTSUPP.
        let refused = json!(["ENOTSUP", "none"]);
        assert_eq!(value(&outcome), json!([refused, refused, refused]));
    }
    node.end().await;
}

/// The original goes on from where it asked, and each clone begins there, with random numbers of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_captured_where_it_asks() {
    let python = "import random, sys, uuid\nfrom snapshot_restore_py import snapshot_here\nPATH = '/proc/rekindle/snapshot'\n\
        word = lambda: open(PATH).read().strip()\nloaded = random.random()\n\
        here = [word(), snapshot_here(), word()]\ndrawn = [random.random(), uuid.uuid4().hex]\n\
        def handler(e, c):\n    return [here, snapshot_here(), loaded, drawn, e]\n";
    let nodejs = "const { snapshotHere } = require('rekindle');\n\
        const word = () => require('fs').readFileSync('/proc/rekindle/snapshot', 'utf8').trim();\n\
        const loaded = Math.random(), here = [word(), snapshotHere(), word()], drawn = [Math.random(), Math.random()];\n\
        exports.handler = async (e) => [here, snapshotHere(), loaded, drawn, e];\n";
    let mut node = Node::start();
    for (name, text, runtime, handler) in [
        ("app.py", python, "python3.11", "app.handler"),
        ("index.js", nodejs, "nodejs20.x", "index.handler"),
    ] {
        let mut f = Arc::unwrap_or_clone(node.written(name, text, runtime, handler));
        f.snap_start = SnapStart::On;
        let f = Arc::new(f);
        let mut answers = Vec::new();
        for (start, word) in [
            (StartKind::Cold, "captured"),
            (StartKind::Restored, "restored"),
            (StartKind::Restored, "restored"),
        ] {
            let outcome = node.invoke(&f, json!(1)).await.unwrap();
            let told = value(&outcome);
            assert_eq!(told[0], json!(["none", word, word]), "{told}");
            assert_eq!((outcome.start, &told[1]), (start, &json!("none")), "{told}");
            answers.push(told);
            let there = async || node.agent.has_snapshot(Arc::clone(&f)).await;
            eventually_in_task("a snapshot is there", there).await;
            node = node.again().await;
        }
        for (at, one) in answers.iter().enumerate() {
            assert_eq!(one[2], answers[0][2]);
            for other in &answers[..at] {
                assert!(
                    one[3][0] != other[3][0] && one[3][1] != other[3][1],
                    "{answers:?}"
                );
            }
        }
    }
    node.end().await;
}

/// With a datagram that nobody has read nothing can be captured. At the end of the initialisation it has been read.
const TOO_EARLY: &str = "import errno, socket\nudp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
    udp.bind(('127.0.0.1', 0)); udp.sendto(b'x', udp.getsockname())\n\
    def ask():\n    try:\n        with open('/proc/rekindle/snapshot', 'wb', 0) as f: f.write(b'now')\n    \
    except OSError as e: return errno.errorcode[e.errno]\n    return 'taken'\n\
    asked = ask(); udp.recv(9)\n";

/// A program whose wish cannot be granted where it asks is captured where any other would be.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_asks_too_early_is_captured_later() {
    use std::os::unix::fs::PermissionsExt;
    let managed = format!("{TOO_EARLY}def handler(e, c):\n    return asked\n");
    let own = format!(
        "#!/usr/bin/python3\n{TOO_EARLY}import http.client, json, os\n\
        api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])\n\
        while True:\n    api.request('GET', '/2018-06-01/runtime/invocation/next'); r = api.getresponse(); r.read()\n    \
        at = '/2018-06-01/runtime/invocation/' + r.headers['Lambda-Runtime-Aws-Request-Id'] + '/response'\n    \
        api.request('POST', at, json.dumps(asked)); api.getresponse().read()\n"
    );
    let mut node = Node::start();
    for (name, text, runtime, handler) in [
        ("app.py", &managed, "python3.11", "app.handler"),
        ("bootstrap", &own, "provided.al2023", ""),
    ] {
        let f = node.written(name, text, runtime, handler);
        let path = node.directory_of(&f.code).join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut f = Arc::unwrap_or_clone(f);
        f.snap_start = SnapStart::On;
        let f = Arc::new(f);
        for start in [StartKind::Cold, StartKind::Restored] {
            let outcome = node.invoke(&f, json!(1)).await.unwrap();
            assert_eq!((value(&outcome), outcome.start), (json!("ENOTSUP"), start));
            let there = async || node.agent.has_snapshot(Arc::clone(&f)).await;
            eventually_in_task("a snapshot is there", there).await;
            node = node.again().await;
        }
    }
    node.end().await;
}

/// Any program can: a shell that speaks the Runtime API by itself, with a child that waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_shell_is_captured_where_it_asks() {
    use std::os::unix::fs::PermissionsExt;
    let program = r#"#!/bin/bash
P=/proc/rekindle/snapshot
coproc CHILD { while read -r line; do echo "heard $line"; done; }
here="\"$(cat $P)\",\"$(echo now > $P && echo asked)\",\"$(cat $P)\""
call() {
  exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}"
  printf '%s /2018-06-01/runtime/invocation/%s HTTP/1.1\r\nHost: api\r\nContent-Length: %s\r\n\r\n%s' "$1" "$2" "${#3}" "$3" >&3
  length=0
  while IFS= read -r -u 3 line; do
    line=${line%$'\r'}
    case ${line,,} in
      '') break ;;
      lambda-runtime-aws-request-id:*) id=${line#*: } ;;
      content-length:*) length=${line#*: } ;;
    esac
  done
  IFS= read -r -N "$length" -u 3 body
  exec 3>&-
}
while :; do
  call GET next ''
  echo "$body" >&"${CHILD[1]}"
  read -r -u "${CHILD[0]}" said
  call POST "$id/response" "[$here,\"$said\"]"
done
"#;
    let mut node = Node::start();
    let f = node.written("bootstrap", program, "provided.al2023", "");
    let path = node.directory_of(&f.code).join("bootstrap");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut f = Arc::unwrap_or_clone(f);
    f.snap_start = SnapStart::On;
    let f = Arc::new(f);
    for (start, word) in [
        (StartKind::Cold, "captured"),
        (StartKind::Restored, "restored"),
    ] {
        for (event, start) in [(1, start), (2, StartKind::Warm)] {
            let outcome = node.invoke(&f, json!(event)).await.unwrap();
            let expected = json!(["none", "asked", word, format!("heard {event}")]);
            assert_eq!((value(&outcome), outcome.start), (expected, start));
        }
        let there = async || node.agent.has_snapshot(Arc::clone(&f)).await;
        eventually_in_task("a snapshot is there", there).await;
        node = node.again().await;
    }
    node.end().await;
}
