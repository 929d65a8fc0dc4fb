"""The gateway's listeners, as real clients meet them: curl over HTTP/1.1, HTTP/2, TLS, a unix socket
and with a certificate of its own; h2load with hundreds of streams at once; and a WebSocket through
the gateway, whose token dies while it is open.

Each run makes its own authority and certificates, and a broker with every kind of listener.
"""

import contextlib
import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path

from processes import Failure, call, get_json, server

HERE = Path(__file__).resolve().parent
PEER = [str(HERE / ".cache/websocket/bin/python"), str(HERE / "websocket/peer.py")]

KEY = "interop-listeners-key-0123456789-0123456789"
PATH = "/bellwether/v1/credentials/polling/token"

# Requests, connections and streams of h2load.
LOAD = (20_000, 4, 32)


def _openssl(directory, *arguments):
    done = subprocess.run(
        ["openssl", *arguments], cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    if done.returncode != 0:
        raise Failure(f"openssl {arguments[0]}: {done.stderr.strip()[-300:]}")


def _certificates(directory):
    """An authority, the gateway's certificate and a caller's, in PEM."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    _openssl(directory, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=interop")
    for name, names in (("gateway", "DNS:localhost,IP:127.0.0.1"), ("caller", "DNS:poller.test")):
        _openssl(
            directory, "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}",
            "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", f"subjectAltName={names}",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
        os.chmod(directory / f"{name}.key", 0o600)


def _configuration(directory, lab, api):
    (directory / "poller.key").write_text(KEY)
    (directory / "client.secret").write_text("lab-client-secret")
    for name in ("poller.key", "client.secret"):
        os.chmod(directory / name, 0o600)
    section = 'tls = { certificate = "gateway.pem", key = "gateway.key", client_ca = "ca.pem", client_auth = "optional" }'
    path = directory / "bellwether.toml"
    path.write_text(f"""
[gateway]
listen = ["127.0.0.1:0", "unix:gateway.sock"]
{section}

[admin]
listen = "127.0.0.1:0"

[store]
url = "sqlite:store/bellwether.db"

[[authorization_server]]
name = "lab"
token_endpoint = "http://{lab}/oauth/token"
resource_server = "http://{api}"

[[credential]]
name = "polling"
authorization_server = "lab"
grant = "client_credentials"
client_id = "lab-client"
client_secret = {{ file = "client.secret" }}

[[caller]]
name = "poller"
key = {{ file = "poller.key" }}
credentials = ["polling"]
""")
    return path


def _curl(directory, url, *options):
    """Status and protocol of an answer; secrets reach curl by its standard input."""
    command = ["curl", "--silent", "--output", "/dev/null", "--max-time", "20", "--config", "-",
               "--write-out", "%{http_code} %{http_version}", *options, url]  # fmt: skip
    header = f'header = "Authorization: Bearer {KEY}"'
    done = subprocess.run(command, cwd=directory, input=header, capture_output=True, text=True, timeout=60)
    return done.stdout


def run_curl(gateway, directory, _lab):
    secure, clear = f"https://localhost:{gateway.rsplit(':', 1)[1]}{PATH}", f"http://localhost{PATH}"
    trust, socket = ("--cacert", "ca.pem"), ("--unix-socket", "gateway.sock")
    cases = [
        ("HTTP/1.1 over TLS", "200 1.1", (secure, *trust, "--http1.1")),
        ("HTTP/2 over TLS", "200 2", (secure, *trust)),
        ("a certificate", "200 2", (secure, *trust, "--cert", "caller.pem", "--key", "caller.key")),
        ("a certificate of nobody's", "000 0", (secure, *trust, "--cert", "stranger.pem", "--key", "stranger.key")),
        ("an authority that is not trusted", "000 0", (secure,)),
        ("in the clear", "000 0", (secure.replace("https", "http"), "--http1.1")),
        ("HTTP/1.1 over a unix socket", "200 1.1", (clear, *socket)),
        ("HTTP/2 over a unix socket", "200 2", (clear, *socket, "--http2-prior-knowledge")),
        ("a foreign host", "421 2", ("http://evil.test/", *socket, "--http2-prior-knowledge")),
    ]
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    _openssl(directory, "req", "-x509", *key, "-keyout", "stranger.key", "-out", "stranger.pem", "-subj", "/CN=stranger")
    for title, expected, options in cases:
        found = _curl(directory, *options)
        if found != expected:
            raise Failure(f"{title}: {found}, not {expected}")
    return {"client": "curl-listeners", "polls": len(cases), "errors": 0}


def run_h2load(gateway, directory, _lab):
    requests, connections, streams = LOAD
    status, output = call(
        ["h2load", "-n", str(requests), "-c", str(connections), "-m", str(streams),
         "-H", f"authorization: Bearer {KEY}", f"https://{gateway}{PATH}"],
        {}, directory / "h2load.log",
    )  # fmt: skip
    counted = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", output)
    answers = re.search(r"status codes: (\d+) 2xx", output)
    if status != 0 or not counted or not answers:
        raise Failure(f"exit status {status}: {output.strip()[-300:]}")
    if int(answers[1]) != requests or counted.group(2, 3) != ("0", "0"):
        raise Failure(f"{counted[0]}, {answers[0]} of {requests}")
    return {"client": "h2load", "polls": int(answers[1]), "errors": 0}


def run_websocket(gateway, directory, lab):
    uri = f"wss://localhost:{gateway.rsplit(':', 1)[1]}/socket"
    command = [*PEER, "talk", uri, "ca.pem"]
    with open(directory / "websocket.log", "w") as errors:
        caller = subprocess.Popen(command, cwd=directory, text=True, stderr=errors,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        caller.stdin.write(f"{KEY}\n")
        caller.stdin.flush()
        first = json.loads(caller.stdout.readline() or "{}")
        # It is open: now its token dies, and whoever comes next is cured.
        urllib.request.urlopen(urllib.request.Request(
            f"http://{lab}/lab/revoke", b"{}", {"Content-Type": "application/json"}), timeout=10)  # fmt: skip
        rest, _ = caller.communicate("\n", timeout=60)
    if caller.returncode != 0 or not first:
        raise Failure(f"exit status {caller.returncode}: {(directory / 'websocket.log').read_text()[-300:]}")
    handshakes = (directory / "api.log").read_text()
    if handshakes.count("good=True") != 2 or handshakes.count("good=False") != 1 or "authorizations=1" not in handshakes:
        raise Failure(f"the API saw other handshakes than good, refused, good: {handshakes}")
    return {"client": "websocket", "polls": first["messages"] + json.loads(rest)["messages"], "errors": 0}


KINDS = {"curl-listeners": run_curl, "h2load": run_h2load, "websocket": run_websocket}
# Token requests that are due; after a revocation there is a second.
DUE = {"curl-listeners": 1, "h2load": 1, "websocket": 2}


def run(name, bellwether, directory):
    """Exit status, counts and the lab's ledger."""
    directory = Path(directory)
    _certificates(directory)
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(server([bellwether, "lab", "serve", "--listen", "127.0.0.1:0"], directory / "lab.log"))
        api = lab["login"]
        if name == "websocket":
            api = stack.enter_context(server([*PEER, "serve", lab["login"]], directory / "api.log"))["api"]
        configuration = _configuration(directory, lab["login"], api)
        command = [bellwether, "serve", "--config", str(configuration)]
        with server(command, directory / "serve.log") as ready:
            # Several places are told with commas between them.
            counts = KINDS[name](ready["gateway"].split(",")[0], directory, lab["login"])
            ledger = get_json(f"http://{lab['login']}/lab/ledger")
    totals = ledger.get("totals", ledger)
    if totals["token_requests"] > DUE[name]:
        raise Failure(f"{totals['token_requests']} token requests upstream, {DUE[name]} is due")
    if (directory / "gateway.sock").exists():
        raise Failure("the unix socket's file was left behind")
    return 0, counts, totals
