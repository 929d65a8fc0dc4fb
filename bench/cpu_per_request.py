#!/usr/bin/env python3
"""What one request costs the process that answers it, beside nginx, in CPU time.

    bench/cpu_per_request.py token-endpoint     the cached answer of POST /oauth/token
    bench/cpu_per_request.py gateway            GET through the gateway, with a good token injected

Each contestant has one worker and CPU 0 to itself; wrk, and what stands behind the contestant, have
CPU 1. Rounds alternate between contestants, and each ratio is of one round. Needs nginx, wrk, two
CPUs, and `cargo build --release -p bellwether`; with `cargo build --release --bin bare_hyper` in
`bench/peers` the engine alone is measured too.
"""

import argparse
import base64
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIENT = ("lab-client", "lab-client-secret")
CONNECTIONS = (50, 200)
ALONE, BESIDE = 0, 1
TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """A server pinned to one CPU, stopped at the end."""

    running = []

    def __init__(self, command, cpu, ready=None):
        self.child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if ready else subprocess.DEVNULL,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
        )
        Process.running.append(self)
        self.found = self._await(ready) if ready else None

    def _await(self, ready):
        said = []
        for line in self.child.stderr:
            if found := re.search(ready, line):
                return found
            said.append(line)
        raise SystemExit(f"{self.child.args} ended before it was ready:\n{''.join(said)}")

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def pss_mb(self):
        rollup = Path(f"/proc/{self.child.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1]) / 1024

    def workers(self):
        names = Path(f"/proc/{self.child.pid}/task").glob("*/comm")
        return sum(name.read_text().startswith("tokio-r") for name in names)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(15)
        except subprocess.TimeoutExpired:
            self.child.kill()


def nginx(directory, name, port, location, http=""):
    """One worker, no access log, connections kept as long as the client likes."""
    path = Path(directory, f"{name}.conf")
    temporary = "\n".join(
        f"{kind}_temp_path {directory}/{name}-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path.write_text(f"""
daemon off;
master_process off;
worker_processes 1;
error_log stderr crit;
pid {directory}/{name}.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    {temporary}
    {http}
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
""")
    return ["nginx", "-p", directory, "-c", path]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until_answered(port):
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def basic(name, secret):
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def token_answer(url, client):
    """The body of the token endpoint's answer, and so a warm cache."""
    request = urllib.request.Request(
        url,
        data=b"grant_type=client_credentials",
        headers={"Authorization": basic(*client)},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


def load(directory, url, headers, body, connections, seconds):
    """One run of wrk."""
    script = Path(directory, "request.lua")
    lines = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
    if body:
        lines += ['wrk.method = "POST"', f"wrk.body = {json.dumps(body)}"]
    script.write_text("\n".join(lines))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url]
    ran = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {BESIDE}),
    ).stdout
    if "requests in" not in ran or " 0 requests in" in ran:
        raise SystemExit(f"{url} answered nothing:\n{ran}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", ran)
    broken = re.search(r"Socket errors: (.*)", ran)
    return {
        "requests": int(re.search(r"(\d+) requests in", ran)[1]),
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", ran)[1]),
        "p50": milliseconds(re.search(r"\n +50%\s+(\S+)", ran)[1]),
        "p99": milliseconds(re.search(r"\n +99%\s+(\S+)", ran)[1]),
        "bad": int(bad[1]) if bad else 0,
        "broken": broken[1] if broken else "",
    }


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def bellwether(arguments, *further):
    command = [arguments.bellwether, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    return Process([*command, *further], ALONE, r"ready gateway=(\S+)")


def token_endpoint(arguments, directory):
    """Contestants by name: process, address, headers, body."""
    lab = Process([arguments.bellwether, "lab", "serve", "--profile", "plain", "--lifetime", "24h",
                   "--listen", "127.0.0.1:0"], BESIDE, r"ready login=(\S+)")
    upstream = lab.found[1] + "/oauth/token"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = "grant_type=client_credentials"

    own = bellwether(arguments, "--token-endpoint", upstream, "--store", "memory:")
    own_url = own.found[1] + "/oauth/token"
    constant = token_answer(own_url, CLIENT)

    key = "k" * 48
    for name, secret in (("caller.key", key), ("client.secret", CLIENT[1])):
        Path(directory, name).touch(mode=0o600)
        Path(directory, name).write_text(secret)
    configuration = Path(directory, "bellwether.toml")
    configuration.write_text(f"""
[store]
url = "memory:"

[[authorization_server]]
name = "lab"
token_endpoint = "{upstream}"

[[credential]]
name = "lab"
authorization_server = "lab"
grant = "client_credentials"
client_id = "{CLIENT[0]}"
client_secret = {{ file = "client.secret" }}

[[caller]]
name = "caller"
key = {{ file = "caller.key" }}
credentials = ["lab"]
""")
    configured = bellwether(arguments, "--config", configuration)
    configured_url = configured.found[1] + "/oauth/token"
    token_answer(configured_url, ("caller", key))

    port = free_port()
    location = f"location = /oauth/token {{ default_type application/json; return 200 '{constant}'; }}"
    ceiling = Process(nginx(directory, "constant", port, location), ALONE)
    until_answered(port)
    own_header = {**form, "Authorization": basic(*CLIENT)}
    engine = {}
    if arguments.bare_hyper.exists():
        bare = Process([arguments.bare_hyper, constant], ALONE, r"ready (\S+)")
        engine["hyper alone, the same body as a constant"] = (bare, bare.found[1] + "/oauth/token", own_header, body)
    else:
        print(f"without hyper alone: there is no {arguments.bare_hyper}", file=sys.stderr)
    return {
        "nginx, the same body as a constant": (ceiling, f"http://127.0.0.1:{port}/oauth/token", own_header, body),
        **engine,
        "bellwether, callers bring their client": (own, own_url, own_header, body),
        "bellwether, configured caller": (
            configured, configured_url, {**form, "Authorization": basic("caller", key)}, body),
    }


def gateway(arguments, directory):
    """As `token_endpoint`; the origin answers 401 unless the right bearer arrives."""
    lab = Process([arguments.bellwether, "lab", "serve", "--profile", "plain", "--lifetime", "24h",
                   "--listen", "127.0.0.1:0"], BESIDE, r"ready login=(\S+)")
    origin_port, proxy_port = free_port(), free_port()
    own = bellwether(arguments, "--token-endpoint", lab.found[1] + "/oauth/token", "--store", "memory:",
                     "--resource-server", f"http://127.0.0.1:{origin_port}")
    token = json.loads(token_answer(own.found[1] + "/oauth/token", CLIENT))["access_token"]
    answer = json.dumps({"entities": "x" * 1000})
    location = f"""location / {{
            default_type application/json;
            if ($http_authorization != "Bearer {token}") {{ return 401; }}
            return 200 '{answer}';
        }}"""
    Process(nginx(directory, "origin", origin_port, location), BESIDE)
    http = f"upstream origin {{ server 127.0.0.1:{origin_port}; keepalive 256; keepalive_requests 1000000000; }}"
    location = f"""location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer {token}";
        }}"""
    proxy = Process(nginx(directory, "proxy", proxy_port, location, http), ALONE)
    until_answered(origin_port)
    until_answered(proxy_port)
    headers = {"Authorization": f"Bearer {token}"}
    path = "/api/v2/users"
    return {
        "nginx, static header": (proxy, f"http://127.0.0.1:{proxy_port}{path}", headers, None),
        "bellwether": (own, own.found[1] + path, headers, None),
    }


def measure(contestants, arguments, directory):
    names = list(contestants)
    figures = {(name, connections): [] for name in names for connections in CONNECTIONS}
    for turn in range(arguments.rounds):
        for connections in CONNECTIONS:
            # Nobody is always first.
            for name in names[turn % len(names):] + names[:turn % len(names)]:
                process, url, headers, body = contestants[name]
                before = process.cpu_seconds()
                ran = load(directory, url, headers, body, connections, arguments.seconds)
                spent = process.cpu_seconds() - before
                ran["cpu"] = spent / ran["requests"] * 100_000
                ran["pss"] = process.pss_mb()
                figures[name, connections].append(ran)
        print(f"round {turn + 1} of {arguments.rounds}", file=sys.stderr)
    return figures


def print_tables(figures, names):
    base = names[0]
    for connections in CONNECTIONS:
        print(f"\n{connections} connections:\n")
        print("| contestant | CPU ratio to nginx (min-max) | CPU-s per 100k requests (min-max) | req/s | p50 ms | p99 ms | PSS MB | non-2xx |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for name in names:
            runs = figures[name, connections]
            ratios = [run["cpu"] / other["cpu"] for run, other in zip(runs, figures[base, connections])]
            cpu = [run["cpu"] for run in runs]
            median = lambda key: statistics.median(run[key] for run in runs)
            print(f"| {name} | {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
                  f" | {statistics.median(cpu):.2f} ({min(cpu):.2f}-{max(cpu):.2f})"
                  f" | {median('rate'):.0f} | {median('p50'):.2f} | {median('p99'):.2f}"
                  f" | {median('pss'):.0f} | {sum(run['bad'] for run in runs)} |")
            for run in runs:
                if run["broken"]:
                    print(f"{name}, {connections} connections: socket errors: {run['broken']}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("token-endpoint", "gateway"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each run of wrk")
    parser.add_argument("--bellwether", default=ROOT / "target/release/bellwether", type=Path)
    parser.add_argument("--bare-hyper", default=ROOT / "bench/peers/target/release/bare_hyper", type=Path)
    arguments = parser.parse_args()
    stage = {"token-endpoint": token_endpoint, "gateway": gateway}[arguments.what]
    with tempfile.TemporaryDirectory() as directory:
        try:
            contestants = stage(arguments, directory)
            for name, (process, *_) in contestants.items():
                if name.startswith("bellwether") and process.workers() != 1:
                    raise SystemExit(f"{name} has {process.workers()} workers and not one")
            figures = measure(contestants, arguments, directory)
        finally:
            for process in Process.running:
                process.stop()
    print_tables(figures, list(contestants))


if __name__ == "__main__":
    main()
