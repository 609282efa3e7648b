//! What the bootstraps do around a snapshot: hooks, late variables, fresh random numbers.
//!
//! No snapshot is taken here; what a clone would inherit is set up by hand before `restore/next` is
//! answered.

mod native;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "native/process.rs"]
mod process;

use process::{Answer, Function, bootstrap};
use serde_json::{Value, json};

const SNAP_START: (&str, &str) = ("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start");

fn python(code: &str, env: &[(&str, &str)]) -> Function {
    let bootstrap = bootstrap("python/bootstrap.py");
    let env = [&[SNAP_START], env].concat();
    Function::start(
        &["/usr/bin/python3", &bootstrap],
        &[("app.py", code)],
        "app.handler",
        &env,
    )
}

fn node(code: &str, env: &[(&str, &str)]) -> Function {
    let bootstrap = bootstrap("nodejs/bootstrap.js");
    let runtime = std::path::Path::new(&bootstrap).parent().unwrap();
    let paths = ("NODE_PATH", runtime.to_str().unwrap());
    let env = [&[SNAP_START, paths], env].concat();
    let random = format!("--openssl-config={}/openssl.cnf", runtime.display());
    Function::start(
        &["/usr/bin/node", &random, &bootstrap],
        &[("index.js", code)],
        "index.handler",
        &env,
    )
}

fn response(f: &Function, payload: &str) -> Value {
    match f.invoke(payload) {
        Answer::Response(value) => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn python_hooks_run_in_the_order_of_aws() {
    let f = python(
        r#"
from snapshot_restore_py import register_after_restore, register_before_snapshot
import os
said = []

@register_before_snapshot
def first():
    said.append("before 1")

register_before_snapshot(lambda *a, **k: said.append(("before 2", a, k)), 1, key=2)

@register_after_restore
def third():
    said.append(("after 1", os.environ.get("SECRET")))

register_after_restore(said.append, "after 2")

def handler(event, context):
    return said
"#,
        &[],
    );
    f.wait_for_restore_point();
    f.resume(&[("SECRET", "only in clones")]);
    let expected = json!([
        ["before 2", [1], {"key": 2}],
        "before 1",
        ["after 1", "only in clones"],
        "after 2"
    ]);
    assert_eq!(response(&f, "{}"), expected);
}

#[test]
fn node_hooks_run_in_order_and_may_be_async() {
    let f = node(
        r#"
const { registerAfterRestore, registerBeforeSnapshot } = require('rekindle');
const said = [];
registerBeforeSnapshot(() => said.push('before 1'));
registerBeforeSnapshot(async (x) => { await new Promise((r) => setTimeout(r, 1)); said.push(`before ${x}`); }, 2);
rekindle.registerAfterRestore(async () => { await null; said.push(`after 1 ${process.env.SECRET}`); });
registerAfterRestore((x) => said.push(x), 'after 2');
exports.handler = async () => said;
"#,
        &[],
    );
    f.wait_for_restore_point();
    f.resume(&[("SECRET", "only in clones")]);
    let expected = json!(["before 2", "before 1", "after 1 only in clones", "after 2"]);
    assert_eq!(response(&f, "{}"), expected);
}

#[test]
fn hooks_that_fail_end_the_runtime_with_the_status_of_aws() {
    let python_hook = |which: &str| {
        python(
            &format!(
                "import snapshot_restore_py\n@snapshot_restore_py.register_{which}\ndef hook():\n    raise ValueError('no')\n\
                 def handler(e, c):\n    pass\n"
            ),
            &[],
        )
    };
    let node_hook = |which: &str| {
        let code = format!(
            "rekindle.register{which}(async () => {{ throw new RangeError('no'); }}); exports.handler = async () => 1;"
        );
        node(&code, &[])
    };
    for (mut f, inner) in [
        (python_hook("before_snapshot"), "ValueError"),
        (node_hook("BeforeSnapshot"), "RangeError"),
    ] {
        let (after, error_type, body, code) = f.hook_error();
        assert!(!after);
        assert_eq!(error_type.as_deref(), Some("Runtime.BeforeSnapshotError"));
        assert_eq!(
            (body["errorType"].as_str(), body["errorMessage"].as_str()),
            (Some(inner), Some("no"))
        );
        assert_eq!(code, Some(64));
    }
    for (mut f, inner) in [
        (python_hook("after_restore"), "ValueError"),
        (node_hook("AfterRestore"), "RangeError"),
    ] {
        f.wait_for_restore_point();
        f.resume(&[]);
        let (after, error_type, body, code) = f.hook_error();
        assert!(after);
        assert_eq!(error_type.as_deref(), Some("Runtime.AfterRestoreError"));
        assert_eq!(body["errorType"].as_str(), Some(inner));
        assert_eq!(code, Some(65));
    }
}

/// What a clone inherits: generators in a state that is known. After the restore none of them may
/// go on from there.
#[test]
fn python_generators_do_not_go_on_from_where_the_snapshot_left_them() {
    let f = python(
        r#"
import random, ssl, threading
from snapshot_restore_py import register_before_snapshot, register_after_restore
told = {}

class Pool:
    """Counts what was added to OpenSSL's pool."""
    added = []

real = ssl._ssl.RAND_add
ssl._ssl.RAND_add = lambda data, entropy: (Pool.added.append(bytes(data)), real(data, entropy))

@register_before_snapshot
def settle():
    random.seed(1)
    told["would be"] = random.Random(1).random()

@register_after_restore
def look():
    # Hooks of the function are user code too: it is done by now.
    told["is"] = random.random()
    told["added"] = [len(data) for data in Pool.added]

def handler(event, context):
    return told
"#,
        &[],
    );
    f.wait_for_restore_point();
    f.resume(&[]);
    let told = response(&f, "{}");
    assert_ne!(told["would be"], told["is"]);
    assert_eq!(told["added"], json!([32]));
}

#[test]
fn node_draws_its_random_numbers_where_no_clone_has_them_too() {
    let f = node(
        r#"
const crypto = require('crypto');
const kept = Math.random; // whoever kept it must not keep the state
const told = { before: [] };
for (let n = 0; n < 1000; n += 1) told.before.push(Math.random());
exports.handler = async () => {
  const many = Array.from({ length: 10000 }, () => kept());
  const ints = Array.from({ length: 2000 }, () => crypto.randomInt(3, 7));
  const thrown = [];
  for (const args of [[5, 5], [0, 2 ** 48], ['a'], [1.5]]) {
    try { crypto.randomInt(...args); } catch (error) { thrown.push(error.code); }
  }
  const uuids = new Set(Array.from({ length: 300 }, () => crypto.randomUUID()));
  for (let n = 0; n < 300; n += 1) uuids.add(globalThis.crypto ? globalThis.crypto.randomUUID() : crypto.webcrypto.randomUUID());
  const [min, max] = [Math.min(...many), Math.max(...many)];
  return {
    seen: many.filter((x) => told.before.includes(x)).length,
    range: min >= 0 && min < 0.01 && max < 1 && max > 0.99,
    mean: Math.abs(many.reduce((a, b) => a + b) / many.length - 0.5) < 0.03,
    ints: [...new Set(ints)].sort(), thrown,
    callback: await new Promise((r) => crypto.randomInt(1, (error, value) => r([error === undefined, value]))),
    uuids: uuids.size, form: [...uuids].every((id) => /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)),
    esm: (await import('node:crypto')).randomUUID === crypto.randomUUID,
    bytes: crypto.randomBytes(16).length,
  };
};
"#,
        &[],
    );
    f.wait_for_restore_point();
    f.resume(&[]);
    let expected = json!({
        "seen": 0, "range": true, "mean": true, "ints": [3, 4, 5, 6],
        "thrown": ["ERR_OUT_OF_RANGE", "ERR_OUT_OF_RANGE", "ERR_INVALID_ARG_TYPE", "ERR_INVALID_ARG_TYPE"],
        "callback": [true, 0], "uuids": 600, "form": true, "esm": true, "bytes": 16,
    });
    assert_eq!(response(&f, "{}"), expected);
}

#[test]
fn node_does_not_offer_itself_where_clones_would_share_random_numbers() {
    let f = Function::start(
        &["/usr/bin/node", &bootstrap("nodejs/bootstrap.js")],
        &[("index.js", "exports.handler = async () => 'first';")],
        "index.handler",
        &[SNAP_START],
    );
    // It would wait for its snapshot instead.
    assert_eq!(response(&f, "{}"), json!("first"));
}

#[test]
fn a_function_is_warmed_up_before_its_snapshot() {
    let events = ("REKINDLE_WARM_UP", r#"[{"n":1},{"raise":1},{"n":3}]"#);
    let f = python(
        "seen = []\ndef handler(e, c):\n    seen.append([e, c.aws_request_id])\n    if 'raise' in e:\n        raise ValueError\n    return seen\n",
        &[events],
    );
    f.wait_for_restore_point();
    f.resume(&[]);
    let seen = response(&f, "{}");
    let warm = json!([[{"n":1}, "warm-up-1"], [{"raise":1}, "warm-up-2"], [{"n":3}, "warm-up-3"]]);
    assert_eq!(seen.as_array().unwrap()[..3], warm.as_array().unwrap()[..]);
    assert_eq!(seen.as_array().unwrap().len(), 4);

    let f = node(
        "let n = 0; exports.handler = (e, c, callback) => { n += 1; if (e.raise) throw new Error('x'); setTimeout(() => callback(null, n), 1); };",
        &[events],
    );
    f.wait_for_restore_point();
    f.resume(&[]);
    assert_eq!(response(&f, "{}"), json!(4));
}

#[test]
fn optimize_compiles_a_function_now() {
    let f = node(
        r#"
function add(a, b) { let s = 0; for (let i = 0; i < 100; i += 1) s += a * i + b; return s; }
const plain = rekindle.optimize(add, 1, 2);
async function wait(x) { let s = 0; for (let i = 0; i < 100; i += 1) s += x; await null; return s; }
const waiting = rekindle.optimize(wait, 3);
let syntax = 'still there';
try { new Function('%DebugPrint(1)'); } catch { syntax = 'gone'; }
let wrong; try { rekindle.optimize(1); } catch (error) { wrong = error.message; }
exports.handler = async () => ({ plain, waiting: await waiting, sum: add(1, 2), syntax, wrong });
"#,
        &[],
    );
    f.wait_for_restore_point();
    f.resume(&[]);
    let expected = json!({
        "plain": true, "waiting": true, "sum": 5150, "syntax": "gone",
        "wrong": "rekindle.optimize wants a function",
    });
    assert_eq!(response(&f, "{}"), expected);
}

#[test]
fn without_a_snapshot_hooks_do_not_run() {
    let bootstrap = bootstrap("python/bootstrap.py");
    let code = "import snapshot_restore_py as s\nsaid = []\ns.register_before_snapshot(said.append, 1)\n\
                s.register_after_restore(said.append, 2)\ndef handler(e, c):\n    return said\n";
    let f = Function::start(
        &["/usr/bin/python3", &bootstrap],
        &[("app.py", code)],
        "app.handler",
        &[],
    );
    assert_eq!(response(&f, "{}"), json!([]));
}
