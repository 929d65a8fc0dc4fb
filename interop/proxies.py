"""Real proxies that ask Bellwether beside them, with the configurations in ../examples.

A copy of each configuration differs in addresses and the names of files alone. Behind it is an API
over TLS that writes down what reaches it. Each proxy plays the same: requests go through with one
token; every token is revoked, a crowd goes on, and all of it is one renewal; a permission that is
missing is not taken for a token that died; whoever has no key, or stands behind a proxy that is not
trusted, gets nothing; and when Bellwether is gone, nothing is passed on.
"""

import concurrent.futures
import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from processes import READY_WITHIN, Failure, end, get_json, launch, server, start

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
ENVOY = HERE / ".cache" / "envoy" / "bin" / "envoy"
TRAEFIK = HERE / ".cache" / "traefik" / "bin" / "traefik"

CALLER_KEY = "key-of-the-caller-0123456789-0123456789"
PROXY_KEY = "key-of-the-proxy-0123456789-0123456789"
COOKIE = "session=of-the-caller"
CROWD = 16
# 401s that no token cures.
FORBIDDEN = 200
HOP_BY_HOP = {"connection", "host", "keep-alive", "transfer-encoding", "content-length"}


# --- the API -------------------------------------------------------------------------------------


@dataclass
class Received:
    method: str
    headers: list
    body: bytes
    status: int = 0

    def all(self, name):
        return [value for known, value in self.headers if known.lower() == name]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        received = Received(self.command, self.headers.items(), body)
        self.server.received.append(received)
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
        # The lab reads; what is written to it is only looked at here.
        upstream.request("GET", self.path, headers=headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        received.status = answer.status
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = pass_on

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextlib.contextmanager
def api(lab, directory):
    """The lab's API over TLS, as api.example.com; writes down all that it receives."""
    certificate, key = directory / "api.pem", directory / "api.key"
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=api.example.com",
        "-addext", "subjectAltName=DNS:api.example.com,IP:127.0.0.1", "-keyout", key, "-out", certificate,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    listening = _Server(("127.0.0.1", 0), _Handler)
    listening.upstream, listening.received = lab, []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield listening
    finally:
        listening.shutdown()
        listening.server_close()


# --- the proxies ---------------------------------------------------------------------------------


@dataclass
class Places:
    """Where everything is: `HOST:PORT`, and files."""

    gateway: str
    listen: str
    api: str
    authority: Path
    directory: Path

    def port(self, name):
        return getattr(self, name).rsplit(":", 1)[1]


@dataclass
class Kind:
    # Makes a copy of the example and says how to start it.
    command: object
    # The proxy's key is shown for everybody.
    own_key: bool = False
    # It reports a 401 of the API, and sends the request once more.
    replays: bool = True
    # … with its body too.
    replays_bodies: bool = True
    # It listens, with 404 for everybody, before it has read its configuration.
    listens_early: bool = False
    # What it says when there is nobody to ask.
    without: tuple = (502, 503)
    # It tells Bellwether that it is a proxy.
    says_so: bool = True


def copy(example, places, changes):
    """Copies an example with these texts changed; each must be there."""
    text = (EXAMPLES / example).read_text()
    for old, new in changes:
        if old not in text:
            raise Failure(f"examples/{example} has no {old!r}")
        text = text.replace(old, new)
    path = places.directory / Path(example).name
    path.write_text(text)
    return path


def nginx(places, main):
    # Debian's own places for these are for root alone.
    temporary = "".join(
        f"    {what}_temp_path {places.directory}/{what};\n"
        for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    log = f"    access_log {places.directory}/access.log;\n"
    path = copy(f"nginx/{main}", places, [("127.0.0.1:8080", places.listen), ("http {\n", "http {\n" + temporary + log)])
    copy("nginx/bellwether-http.conf", places, [
        ("127.0.0.1:8484", places.gateway),
        ("api.example.com:443", places.api),
    ])  # fmt: skip
    copy("nginx/bellwether-server.conf", places, [("/etc/ssl/certs/ca-certificates.crt", str(places.authority))])
    (places.directory / "bellwether-key.conf").write_text(f'set $bellwether_key "Bearer {PROXY_KEY}";\n')
    user = "user root; " if os.geteuid() == 0 else ""
    settings = f"{user}daemon off; pid {places.directory}/nginx.pid; error_log stderr;"
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return [program, "-p", str(places.directory), "-c", str(path), "-e", "stderr", "-g", settings], {}


def envoy(places, example):
    key = places.directory / "envoy.key"
    key.write_text(PROXY_KEY + "\n")
    path = copy(f"envoy/{example}", places, [
        ("port_value: 8080", f"port_value: {places.port('listen')}"),
        ("port_value: 8484", f"port_value: {places.port('gateway')}"),
        ("address: api.example.com, port_value: 443", f"address: 127.0.0.1, port_value: {places.port('api')}"),
        ("/etc/ssl/certs/ca-certificates.crt", str(places.authority)),
        ("/etc/envoy/bellwether.key", str(key)),
    ])  # fmt: skip
    return [str(ENVOY), "-c", str(path), "--use-dynamic-base-id", "--concurrency", "2"], {}


def caddy(places, _):
    path = copy("caddy/Caddyfile", places, [
        ("127.0.0.1:8080", places.listen),
        ("127.0.0.1:8484", places.gateway),
        ("https://api.example.com", f"https://{places.api}"),
    ])  # fmt: skip
    environment = {
        "SSL_CERT_FILE": str(places.authority),
        "XDG_DATA_HOME": str(places.directory),
        "XDG_CONFIG_HOME": str(places.directory),
    }
    return ["caddy", "run", "--config", str(path), "--adapter", "caddyfile"], environment


def traefik(places, _):
    dynamic = copy("traefik/dynamic.yaml", places, [
        ("127.0.0.1:8484", places.gateway),
        ("https://api.example.com", f"https://{places.api}"),
    ])  # fmt: skip
    path = copy("traefik/traefik.yaml", places, [
        ("127.0.0.1:8080", places.listen),
        ("filename: dynamic.yaml", f"filename: {dynamic}"),
    ])  # fmt: skip
    return [str(TRAEFIK), f"--configFile={path}"], {"SSL_CERT_FILE": str(places.authority)}


KINDS = {
    "nginx": Kind(lambda places: nginx(places, "nginx.conf"), says_so=False),
    "nginx-own-key": Kind(lambda places: nginx(places, "own-key.conf"), own_key=True, says_so=False),
    "envoy-grpc": Kind(lambda places: envoy(places, "grpc.yaml")),
    "envoy-http": Kind(lambda places: envoy(places, "http.yaml"), own_key=True),
    "caddy": Kind(lambda places: caddy(places, None), replays_bodies=False),
    "traefik": Kind(lambda places: traefik(places, None), replays=False, listens_early=True, without=(500,)),
}


@contextlib.contextmanager
def proxy(kind, places):
    """Runs a proxy until the block ends."""
    command, environment = kind.command(places)
    log = places.directory.parent / "proxy.log"
    with open(log, "a") as output:
        process = start(command, stdout=output, stderr=output, env=os.environ | environment)
    try:
        host, port = places.listen.rsplit(":", 1)
        deadline = time.monotonic() + READY_WITHIN
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                if not kind.listens_early or status_at(host, int(port)) != 404:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"the proxy does not listen: {log.read_text()[-300:]}")
            time.sleep(0.05)
        yield
    finally:
        end(process)


def status_at(host, port):
    """The status of a request that nobody takes for a caller's."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request("GET", "/")
    status = connection.getresponse().status
    connection.close()
    return status


def free_port():
    """None of them can tell which port it was given."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listening.getsockname()[1]}"


# --- the play ------------------------------------------------------------------------------------


def run(name, bellwether, directory):
    """One proxy from its start to its end; returns an exit status, counts and the lab's ledger."""
    return _Play(KINDS[name], bellwether, directory).play(name)


class _Play:
    def __init__(self, kind, bellwether, directory):
        self.kind, self.bellwether, self.directory = kind, bellwether, directory
        self.polls = 0

    def play(self, name):
        with contextlib.ExitStack() as stack:
            command = [self.bellwether, "lab", "serve", "--profile", "genesys", "--listen", "127.0.0.1:0"]
            self.lab = stack.enter_context(server(command, self.directory / "lab.log"))["login"]
            self.api = stack.enter_context(api(self.lab, self.directory))
            broker, ready = self.broker("trusting", 'trusted_proxies = ["127.0.0.1"]')
            stack.callback(end, broker)
            self.gateway = ready["gateway"]
            self.listen = self.behind(self.gateway, "trusting", stack)
            self.goes_through()
            self.crowd_after_a_revocation()
            self.permission_is_no_revocation()
            if not self.kind.own_key:
                self.wrong_keys()
            observe(ready["admin"], self.directory)
            end(broker)
            self.gone()
            if self.kind.says_so:
                self.distrusted(stack)
            ledger = get_json(f"http://{self.lab}/lab/ledger")
        counts = {"client": name, "logins": "–", "polls": self.polls, "errors": 0}
        return 0, counts, ledger

    def broker(self, name, gateway):
        directory = self.directory / name
        directory.mkdir()
        for file, secret in (("client", "lab-client-secret"), ("caller", CALLER_KEY), ("proxy", PROXY_KEY)):
            path = directory / f"{file}.key"
            path.touch(mode=0o600)
            path.write_text(secret)
        path = directory / "bellwether.toml"
        path.write_text(f"""
[gateway]
listen = "127.0.0.1:0"
{gateway}

[admin]
listen = "127.0.0.1:0"

[store]
url = "sqlite:{self.directory}/store/{name}.db"

[[authorization_server]]
name = "lab"
token_endpoint = "http://{self.lab}/oauth/token"
resource_server = "http://{self.lab}"

[[credential]]
name = "polling"
authorization_server = "lab"
grant = "client_credentials"
client_id = "lab-client"
client_secret = {{ file = "client.key" }}

[[caller]]
name = "caller"
key = {{ file = "caller.key" }}
credentials = ["polling"]

[[caller]]
name = "proxy"
key = {{ file = "proxy.key" }}
credentials = ["polling"]
""")
        return launch([self.bellwether, "serve", "--config", str(path)], self.directory / "serve.log")

    def behind(self, gateway, name, stack):
        directory = self.directory / name
        listen, (host, port) = free_port(), self.api.server_address
        places = Places(gateway, listen, f"{host}:{port}", self.directory / "api.pem", directory)
        stack.enter_context(proxy(self.kind, places))
        return listen

    def ask(self, key=CALLER_KEY, method="GET", body=None):
        """Status and headers of one request through the proxy."""
        connection = http.client.HTTPConnection(self.listen, timeout=30)
        headers = {"Cookie": COOKIE, "Bellwether-Credential": "polling"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        # An API may have such a parameter; nobody may take it for one of the question.
        connection.request(method, "/api/v2/users/agent-1?key=1", body, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        self.polls += answer.status == 200
        return answer.status, answer.headers

    def expect(self, what, status, allowed):
        if status not in allowed:
            raise Failure(f"{what}: {status} instead of {' or '.join(map(str, allowed))}")

    def token_requests(self):
        return get_json(f"http://{self.lab}/lab/ledger")["token_requests"]

    def clean(self, received):
        """What reached the API says who it is once, and nothing of who asked for it."""
        values = received.all("authorization")
        if len(values) != 1 or not values[0].startswith("Bearer "):
            raise Failure(f"{len(values)} Authorization headers reached the API")
        told = json.dumps(received.headers)
        for secret in (CALLER_KEY, PROXY_KEY, COOKIE, "key-of-nobody"):
            if secret in told:
                raise Failure("a caller's key or cookie reached the API")
        if received.all("bellwether-credential"):
            raise Failure("Bellwether-Credential reached the API")
        return values[0]

    def goes_through(self):
        # Where the proxy has the key, what the caller shows is nothing to anybody.
        key = "key-of-nobody" if self.kind.own_key else CALLER_KEY
        for number in range(6):
            method, body = ("POST", b"a body") if number % 2 else ("GET", None)
            self.expect("a request", self.ask(key, method, body)[0], [200])
        received = list(self.api.received)
        if len({self.clean(one) for one in received}) != 1 or len(received) != 6:
            raise Failure("six requests were not six requests with one token")
        if [one.body for one in received] != [b"", b"a body"] * 3:
            raise Failure("a body did not arrive as it was sent")
        if self.token_requests() != 1:
            raise Failure("more than one token request for the first token")

    def crowd_after_a_revocation(self):
        post(f"http://{self.lab}/lab/revoke", {})
        before = len(self.api.received)
        if not self.kind.replays:
            self.expect("a revoked token, which nobody replays", self.ask()[0], [401])
            self.report()

        def one(number):
            method, body = ("POST", b"a body") if number % 2 and self.kind.replays_bodies else ("GET", None)
            return self.ask(method=method, body=body)[0]

        with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
            for status in pool.map(one, range(CROWD)):
                self.expect("after a revocation", status, [200])
        received = self.api.received[before:]
        if len({self.clean(one) for one in received}) > 2 or not any(one.status == 401 for one in received):
            raise Failure("the crowd went on with something else than the old token and one new one")
        if any(one.method == "POST" and one.body != b"a body" for one in received):
            raise Failure("a body was not sent again as it was")
        if self.token_requests() != 2:
            raise Failure(f"{self.token_requests() - 1} renewals for one revocation")

    def report(self):
        """The caller itself says that the token it would get now is refused."""
        credential = f"http://{self.gateway}/bellwether/v1/credentials/polling"
        key = {"Authorization": f"Bearer {CALLER_KEY}"}
        with urllib.request.urlopen(urllib.request.Request(f"{credential}/token", headers=key), timeout=10) as answer:
            held = json.load(answer)["access_token"]
        if post(f"{credential}/rejected", {"access_token": held}, key)["access_token"] == held:
            raise Failure("a token that was reported is handed out again")

    def permission_is_no_revocation(self):
        before = self.token_requests()
        post(f"http://{self.lab}/lab/faults", {"endpoint": "api", "effect": {"status": 401}})
        with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
            for status, _ in pool.map(lambda _: self.ask(), range(FORBIDDEN)):
                self.expect("a permission that is missing", status, [401])
        if self.token_requests() > before + 1:
            raise Failure(f"{self.token_requests() - before} renewals for what no token cures")
        urllib.request.urlopen(urllib.request.Request(f"http://{self.lab}/lab/faults", method="DELETE"), timeout=10)

    def wrong_keys(self):
        before = len(self.api.received)
        for key in (None, "key-of-nobody-0123456789-0123456789-0123"):
            status, headers = self.ask(key)
            self.expect(f"the key {key}", status, [401])
            if "www-authenticate" not in headers:
                raise Failure("a 401 without a challenge")
        if len(self.api.received) != before:
            raise Failure("a request without a key reached the API")

    def gone(self):
        before = len(self.api.received)
        self.expect("without Bellwether", self.ask()[0], self.kind.without)
        if len(self.api.received) != before:
            raise Failure("a request was passed on although nobody could say yes")

    def distrusted(self, stack):
        broker, ready = self.broker("distrusting", "")
        stack.callback(end, broker)
        self.listen = self.behind(ready["gateway"], "distrusting", stack)
        before = len(self.api.received)
        status, headers = self.ask()
        self.expect("behind a proxy that is not trusted", status, [403])
        if headers.get("bellwether-error") != "forwarded_request":
            raise Failure("the refusal does not say why")
        if len(self.api.received) != before:
            raise Failure("a request that was refused reached the API")


def post(url, document, headers=()):
    headers = {"Content-Type": "application/json"} | dict(headers)
    request = urllib.request.Request(url, json.dumps(document).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def observe(admin, directory):
    for path, name in (("metrics", "metrics.txt"), ("v1/credentials", "credentials.json")):
        with urllib.request.urlopen(f"http://{admin}/{path}", timeout=10) as answer:
            (directory / name).write_bytes(answer.read())
