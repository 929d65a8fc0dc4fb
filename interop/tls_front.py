"""A TLS front on loopback: what a reverse proxy does before Bellwether in production.

SDKs without a `gateway` setting always log in over https, at a host they derive from their base
path. For those a certificate is made for the two names, and each request is passed on to the
gateway over plain HTTP with the gateway's own address as `Host`.
"""

import http.client
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DOMAIN = "bellwether.test"
NAMES = (f"api.{DOMAIN}", f"login.{DOMAIN}")
HOP_BY_HOP = {"connection", "host", "keep-alive", "transfer-encoding", "upgrade"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.upstream = http.client.HTTPConnection(self.server.upstream, timeout=30)

    def finish(self):
        self.upstream.close()
        super().finish()

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
        self.upstream.request(self.command, self.path, body, headers)
        answer = self.upstream.getresponse()
        content = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class TlsFront:
    """Listens while its `with` block lasts. `base_path` and `java_options` are for a Java SDK."""

    def __init__(self, upstream, directory):
        self.directory = Path(directory)
        self._make_certificate()
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.upstream = upstream
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "front.pem", self.directory / "front.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.base_path = f"https://{NAMES[0]}:{self.server.server_address[1]}"
        self.java_options = [
            f"-Djdk.net.hosts.file={self.directory / 'hosts'}",
            f"-Djavax.net.ssl.trustStore={self.directory / 'trust.p12'}",
            "-Djavax.net.ssl.trustStorePassword=changeit",
        ]

    def _make_certificate(self):
        (self.directory / "hosts").write_text("".join(f"127.0.0.1 {name}\n" for name in NAMES))
        self._call(
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
            "-keyout", "front.key", "-out", "front.pem", "-subj", f"/CN={DOMAIN}",
            "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in NAMES),
        )  # fmt: skip
        self._call(
            "keytool", "-importcert", "-noprompt", "-alias", "front", "-file", "front.pem",
            "-keystore", "trust.p12", "-storetype", "PKCS12", "-storepass", "changeit",
        )  # fmt: skip

    def _call(self, *command):
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
