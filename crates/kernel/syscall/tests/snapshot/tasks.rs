//! Threads, processes, signals and clocks.

use std::time::Duration;

use crate::guest::boot;
use crate::moving::{enter, move_house, python, snapshot, wait_for, wait_until_asleep};

#[test]
fn a_program_waiting_for_input_goes_on() {
    let program = "
import sys
x = list(range(1000))
print('ready', flush=True)
line = sys.stdin.readline()
print(sum(x), line.strip())
";
    assert_eq!(python(program, "hello\n"), "499500 hello\n");
}

#[test]
fn a_sleep_is_as_long_as_it_was_and_clocks_go_on() {
    let program = "
import time
a, w = time.monotonic(), time.time()
print('ready', flush=True)
time.sleep(0.5)
b = time.monotonic()
print(b - a >= 0.5, time.time() >= w)
";
    assert_eq!(python(program, ""), "True True\n");
}

#[test]
fn threads_and_their_locks_go_on() {
    let program = "
import sys, threading, queue
q, r = queue.Queue(), queue.Queue()
def work(n):
    while True:
        item = q.get()
        if item is None: return
        r.put(item * n)
threads = [threading.Thread(target=work, args=(7,)) for _ in range(4)]
for t in threads: t.start()
print('ready', flush=True)
sys.stdin.read()
for i in range(100): q.put(i)
for t in threads: q.put(None)
for t in threads: t.join()
print(sum(r.get() for _ in range(100)))
";
    assert_eq!(python(program, ""), "34650\n");
}

#[test]
fn children_signals_and_timers_go_on() {
    let program = "
import os, signal, sys, time
fired = []
# It comes again, as on a slow machine it may come before somebody waits for it.
signal.signal(signal.SIGALRM, lambda *a: fired or fired.append(1))
signal.signal(signal.SIGUSR1, lambda *a: fired.append(2))
pid = os.fork()
if pid == 0:
    signal.pause()
    os._exit(len(fired) + 40)
signal.setitimer(signal.ITIMER_REAL, 0.3, 0.3)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(os.getpid(), signal.SIGUSR1)
print('ready', flush=True)
while not fired: signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0)
print(fired, signal.sigpending() == {signal.SIGUSR1})
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
print(fired)
os.kill(pid, signal.SIGUSR1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), os.getpid(), os.getppid())
";
    assert_eq!(python(program, ""), "[1] True\n[1, 2]\n41 1 0\n");
}

#[test]
fn node_goes_on() {
    let program = "
const { Worker } = require('worker_threads');
const w = new Worker(`
  const { parentPort } = require('worker_threads');
  parentPort.on('message', n => parentPort.postMessage(n * 2));
`, { eval: true });
w.once('message', n => {
  console.log('ready');
  process.stdin.once('data', line => {
    w.once('message', m => {
      require('fs').readFile('/etc/passwd', 'utf8', (e, text) => {
        console.log(m, n, String(line).trim(), text.length > 0);
        setTimeout(() => process.exit(0), 5);
      });
    });
    w.postMessage(21);
  });
});
w.postMessage(1);
";
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/env", "node", "-e", program]);
    wait_for(&machine, "ready\n");
    wait_until_asleep(&machine);
    let next = move_house(machine);
    next.console.push_input(b"line\n");
    assert_eq!(next.finish().expect_success(), "42 2 line true\n");
}

#[test]
fn running_code_is_stopped_anywhere_and_goes_on_in_both() {
    let program = "
import sys, threading
total = [0] * 3
def work(i):
    for n in range(300_000): total[i] = (total[i] * 31 + n) % 1_000_003
threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
print('ready', flush=True)
for t in threads: t.start()
for t in threads: t.join()
print(total, sum(range(10)))
";
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "ready\n");
    let copies: Vec<_> = (0..3).map(|_| snapshot(&machine)).collect();
    let original = machine.finish().expect_success();
    for copy in copies {
        let next = enter(&copy.state, &copy.memory).expect("load");
        next.system.kernel.thaw();
        assert_eq!(next.finish().expect_success(), original);
    }
}

#[test]
fn threads_blocked_in_many_calls_go_on() {
    let program = "
import fcntl, os, select, signal, socket, subprocess, sys, threading, time
results, lock = {}, threading.Lock()
def thread(name):
    def start(f):
        def run():
            value = f()
            with lock: results[name] = value
        t = threading.Thread(target=run); t.start(); threads.append(t)
    return start
threads = []
gate, push = os.pipe()
pipes = [os.pipe() for _ in range(3)]
a, b = socket.socketpair()
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen()
full = os.pipe(); fill = len(b'x' * 65536); os.write(full[1], b'x' * fill)
held, event, cond = threading.Lock(), threading.Event(), threading.Condition()
held.acquire()
cat = subprocess.Popen(['/bin/cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
ep = select.epoll(); ep.register(pipes[1][0])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
thread('read')(lambda: os.read(pipes[0][0], 9))
thread('epoll')(lambda: len(ep.poll()))
thread('select')(lambda: len(select.select([pipes[2][0]], [], [])[0]))
thread('recv')(lambda: a.recv(9))
thread('accept')(lambda: l.accept()[0].recv(9))
thread('write')(lambda: os.write(full[1], b'y'))
thread('lock')(lambda: held.acquire())
thread('event')(lambda: event.wait())
thread('timed')(lambda: event.wait(3600))
thread('sleep')(lambda: time.sleep(0.6))
thread('wait')(lambda: cat.wait())
thread('signal')(lambda: signal.sigwait([signal.SIGUSR2]) == signal.SIGUSR2)
print('ready', flush=True)
sys.stdin.read()
for _, w in pipes: os.write(w, b'bytes')
b.send(b'bytes')
socket.create_connection(l.getsockname()).send(b'bytes')
os.read(full[0], fill)
held.release(); event.set()
os.kill(os.getpid(), signal.SIGUSR2)
cat.stdin.write(b'through'); cat.stdin.close()
out = cat.stdout.read()
for t in threads: t.join()
print(out, sorted(results.items()))
";
    assert_eq!(
        python(program, ""),
        "b'through' [('accept', b'bytes'), ('epoll', 1), ('event', True), ('lock', True), \
         ('read', b'bytes'), ('recv', b'bytes'), ('select', 1), ('signal', True), \
         ('sleep', None), ('timed', True), ('wait', 0), ('write', 1)]\n"
    );
}

#[test]
fn an_orphan_goes_to_who_waits_for_any_child_afterwards_too() {
    let program = "
import os, sys
gate = os.pipe()
def orphan(code):
    if (parent := os.fork()) == 0:
        if (pid := os.fork()) == 0:
            os.close(gate[1])
            os.read(gate[0], 1)
            os._exit(code)
        os._exit(0)
    os.wait()
orphan(7)
print('ready', flush=True)
sys.stdin.read()
os.close(gate[1])
print(os.waitstatus_to_exitcode(os.wait()[1]))
";
    assert_eq!(python(program, ""), "7\n");
}
