"""What became of datagrams (IP_RECVERR, MSG_ERRQUEUE): prints the same on Linux and in a sandbox."""
import errno, select, socket, struct
ERRQUEUE, TRUNC = 0x2000, 0x20
def queue(s, room=100, control=200):
    try: data, controls, flags, name = s.recvmsg(room, control, ERRQUEUE)
    except OSError as e: return errno.errorcode[e.errno]
    told = []
    for level, kind, raw in controls:
        if len(raw) < 16: told.append((level, kind, raw.hex())); continue
        number, origin, what, code, _, info, extra = struct.unpack_from('IBBBBII', raw)
        told.append((level, kind, errno.errorcode[number], origin, what, code, info, extra, len(raw), struct.unpack_from('H', raw, 16)[0], raw[18:].hex()))
    return len(data), hex(flags), name[0], told
def tried(f):
    try: return f()
    except OSError as e: return errno.errorcode[e.errno]
def polled(s):
    p = select.poll(); p.register(s); return [hex(e) for _, e in p.poll(0)]
def nobody(family, host):
    s = socket.socket(family, socket.SOCK_DGRAM); s.bind((host, 0)); port = s.getsockname()[1]; s.close(); return host, port
for family, host, level, name in (socket.AF_INET, '127.0.0.1', 0, 11), (socket.AF_INET6, '::1', 41, 25):
    there = nobody(family, host)
    s = socket.socket(family, socket.SOCK_DGRAM)
    print('nothing', queue(s), polled(s)); s.sendto(b'unheard', there); print('without being asked', queue(s), polled(s))
    s.setsockopt(level, name, 1); print(s.getsockopt(level, name))
    s.sendto(b'unheard', there); print('ready', polled(s)); print('the queue', queue(s)); print('and then', queue(s), polled(s), s.getsockopt(1, 4))
    s.sendto(b'a', there); print(tried(lambda: s.sendto(b'b', there)), tried(lambda: s.sendto(b'bcd', there)), polled(s), queue(s)[0], polled(s), s.getsockopt(1, 4), queue(s)[0], s.getsockopt(1, 4), queue(s))
    s.sendto(b'a', there); print('recv', tried(lambda: s.recv(10, socket.MSG_DONTWAIT)), tried(lambda: s.recv(10, socket.MSG_DONTWAIT)), polled(s), queue(s)[0])
    s.sendto(b'x' * 2000, there); print('long', queue(s, 3000)[0]); s.sendto(b'x' * 50, there); print('cut', queue(s, 10, 20)[:2])
    s.sendto(b'a', there); s.setsockopt(level, name, 0); print('purged', queue(s), polled(s))
    s.setsockopt(level, name, 1); s.connect(there); s.getsockopt(1, 4); s.send(b'connected'); print('connected', queue(s), tried(lambda: s.send(b'1')))
t = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(t.getsockname()); c.setsockopt(0, 11, 1); print('tcp', queue(c))
