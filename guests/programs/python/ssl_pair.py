"""TLS between two ends in memory and over loopback, with a certificate that openssl makes here."""
import hashlib, socket, ssl, subprocess, sys, threading

subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
               check=True, stderr=subprocess.DEVNULL)
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain("cert.pem", "key.pem")
client = ssl.create_default_context(cafile="cert.pem")
listener = socket.create_server(("127.0.0.1", 0))
text, failures = bytes(range(256)) * 4000, []


def serve():
    for _ in range(2):
        with listener.accept()[0] as plain:
            try:
                with server.wrap_socket(plain, server_side=True) as tls:
                    got = b""
                    while len(got) < len(text):
                        got += tls.recv(65536)
                    tls.sendall(hashlib.sha256(got).hexdigest().encode())
            except (ssl.SSLError, ConnectionError) as error:
                failures.append(type(error).__name__)


thread = threading.Thread(target=serve)
thread.start()
with socket.create_connection(listener.getsockname()) as plain:
    with client.wrap_socket(plain, server_hostname="localhost") as tls:
        print(tls.version(), tls.cipher()[0], tls.getpeercert()["subject"])
        tls.sendall(text)
        print(tls.recv(100).decode() == hashlib.sha256(text).hexdigest())
with socket.create_connection(listener.getsockname()) as plain:
    try:
        client.wrap_socket(plain, server_hostname="elsewhere")
    except ssl.SSLCertVerificationError as error:
        print(error.verify_message)
thread.join()
print("server:", failures)
print(len(ssl.RAND_bytes(32)))
sys.exit(3)
