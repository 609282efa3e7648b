"""socketserver and http.server: threads, forks, datagrams, unix sockets, and an HTTP round trip."""
import http.client, http.server, os, socket, socketserver, sys, threading, urllib.request


class Upper(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(data[::-1], self.client_address)


class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def during(server, work):
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        work(server.server_address)
        server.shutdown()
        thread.join()


def lines(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as s:
        s.settimeout(60)
        s.connect(address)
        s.sendall(b"one\ntwo\n")
        s.shutdown(socket.SHUT_WR)
        print(b"".join(iter(lambda: s.recv(100), b"")))


def datagrams(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(60)
        s.sendto(b"abc", address)
        print(s.recv(100))


def posts(address):
    connection = http.client.HTTPConnection(*address, timeout=60)
    for size in (0, 1, 100_000):
        connection.request("POST", "/", b"x" * size)
        answer = connection.getresponse()
        print(answer.status, len(answer.read()))
    connection.close()
    try:
        urllib.request.urlopen(f"http://{address[0]}:{address[1]}/missing", timeout=60)
    except urllib.error.HTTPError as error:
        print(error.code)


local = ("127.0.0.1", 0)
during(socketserver.ThreadingTCPServer(local, Upper), lines)
during(socketserver.ForkingTCPServer(local, Upper), lines)
during(socketserver.ThreadingUnixStreamServer("u.sock", Upper), lines)
during(socketserver.ThreadingUDPServer(local, Datagram), datagrams)
during(http.server.ThreadingHTTPServer(local, Hello), posts)
with socket.create_server(("::1", 0), family=socket.AF_INET6) as six:
    with socket.create_connection(six.getsockname()[:2], timeout=60) as c:
        print(c.getpeername()[0])
sys.exit(11)
