//! Sockets of all families.

use crate::moving::python;

#[test]
fn socket_pairs_and_event_loops_go_on() {
    let program = "
import asyncio, socket, sys
a, b = socket.socketpair()
a.sendall(b'before')
async def main():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.add_reader(0, lambda: done.done() or done.set_result(sys.stdin.readline()))
    print('ready', flush=True)
    print((await done).strip())
    await asyncio.sleep(0.01)
    print(await loop.run_in_executor(None, lambda: 6 * 7))
asyncio.run(main())
a.sendall(b' after')
a.shutdown(socket.SHUT_WR)
print(b.recv(6), b.recv(99), b.recv(9))
";
    assert_eq!(
        python(program, "line\n"),
        "line\n42\nb'before' b' after' b''\n"
    );
}

#[test]
fn connections_within_the_sandbox_go_on() {
    let program = "
import socket, sys
l = socket.socket(); l.bind(('127.0.0.1', 8080)); l.listen()
c = socket.create_connection(('127.0.0.1', 8080)); s, _ = l.accept()
c.sendall(b'unread')
print('ready', flush=True)
sys.stdin.read()
print(s.recv(99), s.getpeername() == c.getsockname())
s.sendall(b'back'); s.close()
print(c.recv(9), c.recv(9))
d = socket.create_connection(('127.0.0.1', 8080)); t, _ = l.accept()
t.sendall(b'new'); print(d.recv(9), l.getsockname())
";
    assert_eq!(
        python(program, ""),
        "b'unread' True\nb'back' b''\nb'new' ('127.0.0.1', 8080)\n"
    );
}

/// A server at a path, one at an abstract name, their connections, and one whose path was removed.
#[test]
fn unix_sockets_with_names_go_on() {
    let program = "
import os, socket, sys
def server(name, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind); s.bind(name); s.listen(); return s
def client(name, own=None, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    if own: s.bind(own)
    s.connect(name); return s
os.chdir('/tmp')
path, abstract, gone = server('server'), server(b'\\0server'), server('gone')
packets = server('packets', socket.SOCK_SEQPACKET)
os.rename('server', 'moved'); os.remove('gone')
a = client('moved', 'own'); b, who = path.accept()
a.sendall(b'unread')
c = client(b'\\0server'); d, _ = abstract.accept()
e = client('packets', kind=socket.SOCK_SEQPACKET); f, _ = packets.accept()
e.send(b'one'); e.send(b'two')
names = [s.getsockname() for s in (path, abstract, gone, a, b, c, d)] + [s.getpeername() for s in (a, b, c, d)]
print('ready', flush=True)
sys.stdin.read()
print(names == [s.getsockname() for s in (path, abstract, gone, a, b, c, d)] + [s.getpeername() for s in (a, b, c, d)])
print(b.recv(99), f.recv(99), f.recv(99), names[7], names[8])
g = client('moved'); h, _ = path.accept(); h.sendall(b'new'); print(g.recv(9))
g = client(b'\\0server'); h, _ = abstract.accept(); h.sendall(b'again'); print(g.recv(9))
def attempt(call):
    try: return call()
    except OSError as error: return type(error).__name__
print(attempt(lambda: client('gone')), attempt(lambda: server(b'\\0server')), attempt(lambda: server('moved')))
abstract.close(); path.close()
print(attempt(lambda: client('moved')), attempt(lambda: client(b'\\0server')), server(b'\\0server').getsockname())
";
    assert_eq!(
        python(program, ""),
        "True\nb'unread' b'one' b'two' server own\nb'new'\nb'again'\n\
         FileNotFoundError OSError OSError\nConnectionRefusedError ConnectionRefusedError b'\\x00server'\n"
    );
}

/// Datagrams that wait, who they are from, a sender that waits for room, and a peer that is gone.
#[test]
fn unix_datagrams_go_on() {
    let program = "
import os, socket, sys, threading
def datagram(name=None, to=None):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if name: s.bind(name)
    if to: s.connect(to)
    return s
os.chdir('/tmp')
log, own = datagram('log'), datagram('own', 'log')
quiet = datagram(to='log')
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
a.send(b'pair')
own.send(b'first'); quiet.send(b'second')
lost = datagram('lost'); alone = datagram(to='lost'); lost.close()
full = datagram('full'); many = datagram(to='full'); many.setblocking(False)
sent = 0
while True:
    try: many.send(b'x'); sent += 1
    except BlockingIOError: break
many.setblocking(True)
blocked = threading.Thread(target=lambda: many.send(b'last')); blocked.start()
print('ready', flush=True)
sys.stdin.read()
print(log.recvfrom(99), log.recvfrom(99), b.recv(9), own.getpeername(), own.getsockname())
b.send(b'back'); print(a.recv(9))
own.send(b'third'); print(log.recvfrom(9)); log.sendto(b'answer', 'own'); print(own.recvfrom(9))
try: alone.send(b'x')
except ConnectionRefusedError: print('refused')
print([full.recv(9) for _ in range(sent)] == [b'x'] * sent, full.recv(9)); blocked.join()
datagram(to='full').send(b'more'); print(full.recv(9))
";
    assert_eq!(
        python(program, ""),
        "(b'first', 'own') (b'second', None) b'pair' log own\nb'back'\n(b'third', 'own')\n(b'answer', 'log')\n\
         refused\nTrue b'last'\nb'more'\n"
    );
}

#[test]
fn datagram_sockets_keep_their_addresses() {
    let program = "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 5300))
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); c.connect(('127.0.0.1', 5300))
names = c.getsockname(), c.getpeername()
print('ready', flush=True)
sys.stdin.read()
c.send(b'ask'); data, who = s.recvfrom(9); s.sendto(b'answer', who)
print(data, c.recv(9), (c.getsockname(), c.getpeername()) == names, who == names[0])
";
    assert_eq!(python(program, ""), "b'ask' b'answer' True True\n");
}
