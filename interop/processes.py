"""Servers and clients as child processes: started, waited for, ended."""

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
import urllib.request

READY_WITHIN = 30  # seconds
DONE_WITHIN = 120  # seconds


class Failure(Exception):
    """Why a client did not pass; the text is for the person who reads the table."""


# Each child leads a process group of its own, so that an interrupted run can end them all.
children = set()


def start(command, **options):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True, start_new_session=True, **options)
    children.add(process.pid)
    return process


def end(process):
    """Ends what is left of a child's group; it may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    children.discard(process.pid)


def end_all(number, _frame):
    for group in list(children):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    os._exit(128 + number)


def launch(command, log, environment=None):
    """Starts a server; returns it and what its `ready` line says. Its errors go to `log`."""
    environment = os.environ | {"BELLWETHER_LOG": "debug"} | (environment or {})
    process = start(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    lines = queue.Queue()

    def read():
        with open(log, "a") as file:
            for line in process.stderr:
                file.write(line)
                file.flush()
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        return process, _ready(command, lines)
    except Failure:
        end(process)
        raise


@contextlib.contextmanager
def server(command, log, environment=None):
    """Runs a server until the block ends; yields what its `ready` line says."""
    process, ready = launch(command, log, environment)
    try:
        yield ready
    finally:
        # Asked first: that is how an operator stops it, and it drains for at most 10 s.
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=12)
        end(process)


def _ready(command, lines):
    name = " ".join(command[1:3])
    deadline = time.monotonic() + READY_WITHIN
    seen = []
    while True:
        try:
            line = lines.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            raise Failure(f"`{name}` was not ready within {READY_WITHIN} s") from None
        if line is None:
            raise Failure(f"`{name}` ended before it was ready: {' '.join(seen)[-300:]}")
        if line.startswith("ready "):
            return dict(re.findall(r"(\w+)=https?://(\S+)", line))
        seen.append(line.strip())


def call(command, env, log):
    """Runs a client to its end; returns its exit status and standard output."""
    with open(log, "w") as errors:
        process = start(command, stdout=subprocess.PIPE, stderr=errors, env=os.environ | env)
        try:
            output, _ = process.communicate(timeout=DONE_WITHIN)
        except subprocess.TimeoutExpired:
            raise Failure(f"not done within {DONE_WITHIN} s") from None
        finally:
            end(process)
    return process.returncode, output


def get_json(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
