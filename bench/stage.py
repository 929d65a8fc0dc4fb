"""What the measurements share: servers pinned to a CPU, load from wrk, and how quiet the machine is."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What the lab knows without being told.
CLIENT = ("lab-client", "lab-client-secret")
# What a configured caller shows, and the operator.
KEY, OPERATOR_KEY = "k" * 48, "o" * 48
# The contestant's CPU, and that of everything else.
ALONE, BESIDE = 0, 1
# Debian keeps servers where only root looks.
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
TICKS = os.sysconf("SC_CLK_TCK")
# Above these a machine is too busy to measure on.
BUSY_SHARE, STOLEN_SHARE = 0.05, 0.01


class Process:
    """A server pinned to one CPU (or to none), stopped at the end."""

    running = []

    def __init__(self, command, cpu=None, ready=None, environment=None):
        pin = (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None
        self.child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if ready else subprocess.DEVNULL,
            text=True,
            env=os.environ | (environment or {}),
            preexec_fn=pin,
        )
        Process.running.append(self)
        self.found = self._await(ready) if ready else None

    def _await(self, ready):
        said = []
        for line in self.child.stderr:
            if found := re.search(ready, line):
                # A server whose pipe is full waits for ever.
                threading.Thread(target=self._drain, daemon=True).start()
                return found
            said.append(line)
        raise SystemExit(f"{self.child.args} ended before it was ready:\n{''.join(said)}")

    def _drain(self):
        for _ in self.child.stderr:
            pass

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
        if self in Process.running:
            Process.running.remove(self)
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(15)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    @classmethod
    def stop_all(cls):
        for process in list(cls.running):
            process.stop()


def terminated(_number, _frame):
    # So that what was started is stopped, as after any other error.
    raise SystemExit("stopped")


def nginx(directory, name, listen, location, http=""):
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
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    {temporary}
    {http}
    server {{
        listen 127.0.0.1:{listen};
        {location}
    }}
}}
""")
    return [shutil.which("nginx", path=PATH) or "nginx", "-p", directory, "-c", path]


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


def need(*tools):
    """Ends with advice where one is missing."""
    for tool, package in tools:
        if shutil.which(tool, path=PATH) is None:
            raise SystemExit(f"{tool} is not installed: apt-get install {package}")


def ask(url, body=None, headers=None):
    """One request from here, and the body of its answer."""
    request = urllib.request.Request(url, data=body, headers=headers or {})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


def token_answer(url, client):
    """The body of the token endpoint's answer, and so a warm cache."""
    return ask(url, b"grant_type=client_credentials", {"Authorization": basic(*client)})


def lab(bellwether, *further, cpu=BESIDE):
    command = [bellwether, "lab", "serve", "--listen", "127.0.0.1:0", *further]
    return Process(command, cpu, r"ready login=(\S+)")


def serve(bellwether, *further, cpu=ALONE, environment=None):
    command = [bellwether, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", *further]
    return Process(command, cpu, r"ready gateway=(\S+) admin=(\S+)", environment)


def configuration(directory, login, resource_server=None, credentials=("lab",)):
    """Credentials at `login`, and one caller for them all."""
    for name, text in (("caller.key", KEY), ("operator.key", OPERATOR_KEY), ("client.secret", CLIENT[1])):
        path = Path(directory, name)
        path.touch(mode=0o600)
        path.write_text(text)
    sections = "".join(f"""
[[credential]]
name = "{name}"
authorization_server = "lab"
grant = "client_credentials"
client_id = "{CLIENT[0]}"
client_secret = {{ file = "client.secret" }}
{f'scope = "{name}"' if len(credentials) > 1 else ""}
""" for name in credentials)
    path = Path(directory, "bellwether.toml")
    path.write_text(f"""
[store]
url = "memory:"

[admin]
key = {{ file = "operator.key" }}

[[authorization_server]]
name = "lab"
token_endpoint = "{login}/oauth/token"
{f'resource_server = "{resource_server}"' if resource_server else ""}
{sections}
[[caller]]
name = "caller"
key = {{ file = "caller.key" }}
credentials = {json.dumps(credentials)}
""")
    return path


# wrk's own table ends at 99 %.
REPORT = """
function done(summary, latency, requests)
    local errors = summary.errors
    io.stderr:write(string.format(
        '{"requests": %d, "seconds": %f, "bytes": %d, "p50": %f, "p99": %f, "p999": %f, "most": %f, ' ..
        '"bad": %d, "broken": {"connect": %d, "read": %d, "write": %d, "timeout": %d}}',
        summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50) / 1e3,
        latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3, latency.max / 1e3,
        errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
"""


def lua_table(names):
    return "{" + ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in names.items()) + "}"


def start_load(directory, url, headers, body, connections, seconds, cpu=BESIDE):
    """Starts a run of wrk; `end_load` waits for it. Several sets of headers are sent in turn."""
    script = Path(directory, "request.lua")
    method, sent = ('"POST"', json.dumps(body)) if body else ('"GET"', "nil")
    if isinstance(headers, list):
        tables = ", ".join(lua_table(turn) for turn in headers)
        text = f"""
local turns, turn = {{}}, 0
function init()
    for number, headers in ipairs({{ {tables} }}) do
        turns[number] = wrk.format({method}, nil, headers, {sent})
    end
end
function request()
    turn = turn % #turns + 1
    return turns[turn]
end
"""
    else:
        text = f"wrk.method, wrk.headers, wrk.body = {method}, {lua_table(headers)}, {sent}\n"
    script.write_text(text + REPORT)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", script, url]
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
    )


def end_load(running, url):
    """What came of a run: requests and their rate, milliseconds, what was not 2xx, what broke."""
    _, said = running.communicate()
    try:
        ran = json.loads(said[said.index("{"):])
    except ValueError:
        raise SystemExit(f"wrk said nothing of {url}:\n{said}") from None
    ran["rate"] = ran["requests"] / ran["seconds"]
    ran["broken"] = {kind: count for kind, count in ran["broken"].items() if count}
    return ran


def load(directory, url, headers, body, connections, seconds, least=1):
    """One run of wrk, and at least so many answers."""
    ran = end_load(start_load(directory, url, headers, body, connections, seconds), url)
    if ran["requests"] < least:
        raise SystemExit(f"{url} gave {ran['requests']} answers in {seconds} s: {ran}")
    return ran


def cpu_time():
    """Of the whole machine, in ticks: all, idle, stolen by the host."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4], fields[7]


class Quiet:
    """How much of the machine's time the host stole while something was measured."""

    def __init__(self):
        self.before = cpu_time()

    def stolen(self):
        total, _, stolen = (now - then for now, then in zip(cpu_time(), self.before))
        return stolen / max(1, total)

    def busy(self):
        total, idle, _ = (now - then for now, then in zip(cpu_time(), self.before))
        return 1 - idle / max(1, total)


def warn_if_busy(seconds=2):
    """Looks at the machine before anything is started; what is measured on a busy one means little."""
    quiet = Quiet()
    time.sleep(seconds)
    busy, stolen = quiet.busy(), quiet.stolen()
    if busy > BUSY_SHARE or stolen > STOLEN_SHARE:
        say(
            f"warning: the machine is not quiet: {busy:.0%} busy, {stolen:.1%} stolen by the host,"
            f" load {os.getloadavg()[0]:.1f}; pause what else runs, or read the figures with care"
        )
    return {"busy": round(busy, 3), "stolen": round(stolen, 3), "load": os.getloadavg()[0]}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Progress:
    """One line that changes on a terminal; otherwise a line for each round."""

    def __init__(self, steps):
        self.steps, self.done, self.began = steps, 0, time.monotonic()
        self.live = sys.stderr.isatty()

    def step(self, what):
        self.done += 1
        left = (time.monotonic() - self.began) / self.done * (self.steps - self.done)
        if self.live:
            print(f"\r\x1b[K{self.done}/{self.steps}, {left:.0f} s left: {what}", end="", file=sys.stderr, flush=True)
            if self.done == self.steps:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def round(self, number, rounds):
        if not self.live:
            say(f"round {number} of {rounds}")
