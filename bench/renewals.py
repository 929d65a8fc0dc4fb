#!/usr/bin/env python3
"""What callers of the gateway notice of renewals and revocations under full load: nothing, if it works.

    bench/renewals.py latency      p99.9 with renewals against p99.9 without, 20 pairs of windows
    bench/renewals.py failures     10,000,000 requests through 1,000 renewals and 100 revocations
    bench/renewals.py failures --requests 100000 --renewals 20 --revocations 5

The lab is authorization server and API in one, and answers 401 to any token that it does not hold for
live. Renewals are ordered at the admin listener; a revocation ends every live token at the lab, so that
the gateway learns of it by a 401, as from a vendor. The gateway has CPU 0, the lab and wrk have CPU 1.
Exit status: 0 the goal is met, 1 it is not. Needs wrk, two CPUs and a build of bellwether.
"""

import argparse
import contextlib
import json
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True

import stage  # noqa: E402
from stage import KEY, OPERATOR_KEY, ROOT, Process  # noqa: E402

PATH = "/api/v2/users/agent-1"
# With renewals at most so many times what it is without.
LATENCY_GOAL = 1.2
# Enough of them that none is renewed twice within a second, which is not done; each request is for the next.
CREDENTIALS = [f"part-{number}" for number in range(8)]
# A renewal takes one round trip on loopback.
RENEWED_WITHIN = 10  # seconds


class Setting:
    """The lab, the gateway before it, and their handles for whoever directs."""

    def __init__(self, arguments, directory):
        self.lab = stage.lab(arguments.bellwether, "--profile", "plain", "--lifetime", "24h").found[1]
        configuration = stage.configuration(directory, self.lab, self.lab, CREDENTIALS)
        self.process = stage.serve(arguments.bellwether, "--config", configuration)
        self.gateway, self.admin = self.process.found[1], self.process.found[2]
        self.headers = [{"Authorization": f"Bearer {KEY}", "Bellwether-Credential": name} for name in CREDENTIALS]
        for headers in self.headers:
            stage.ask(self.gateway + PATH, headers=headers)
        self.turn = 0

    def next(self):
        """The one that was left alone for longest."""
        self.turn += 1
        return CREDENTIALS[self.turn % len(CREDENTIALS)]

    def generation(self, name):
        views = json.loads(stage.ask(f"{self.admin}/v1/credentials"))["credentials"]
        return next(view["generation"] for view in views if view["name"] == name)

    def ledger(self):
        return json.loads(stage.ask(f"{self.lab}/lab/ledger"))

    def renew(self):
        """Orders a renewal and waits for it."""
        name = self.next()
        before = self.generation(name)
        headers = {"Authorization": f"Bearer {OPERATOR_KEY}", "Content-Type": "application/json"}
        stage.ask(f"{self.admin}/v1/credentials/{name}/renew", b"{}", headers)
        self._until_after(name, before)

    def revoke(self):
        """Ends a live token at the lab, and waits until the gateway has found out and has another."""
        name = self.next()
        before = self.generation(name)
        url = f"{self.gateway}/bellwether/v1/credentials/{name}/token"
        token = json.loads(stage.ask(url, headers={"Authorization": f"Bearer {KEY}"}))["access_token"]
        body = json.dumps({"token": token}).encode()
        answer = json.loads(stage.ask(f"{self.lab}/lab/revoke", body, {"Content-Type": "application/json"}))
        if answer["revoked"] != 1:
            raise SystemExit(f"the lab revoked {answer['revoked']} tokens and not one")
        self._until_after(name, before)

    def _until_after(self, name, generation):
        deadline = time.monotonic() + RENEWED_WITHIN
        while self.generation(name) == generation:
            if time.monotonic() > deadline:
                raise NotRenewed(f"{name} was not renewed within {RENEWED_WITHIN} s after generation {generation}")
            time.sleep(0.005)


class NotRenewed(Exception):
    """What was ordered, or needed, did not come."""


# --- latency -------------------------------------------------------------------------------------


def window(setting, directory, arguments, renewing):
    url, ended, renewals = setting.gateway + PATH, threading.Event(), 0

    def renew():
        nonlocal renewals
        # One that does not come shows in the count.
        with contextlib.suppress(NotRenewed):
            while not ended.wait(1 / arguments.renewals_a_second):
                setting.renew()
                renewals += 1

    running = stage.start_load(directory, url, setting.headers, None, arguments.connections, arguments.seconds)
    renewer = threading.Thread(target=renew)
    if renewing:
        renewer.start()
    ran = stage.end_load(running, url)
    ended.set()
    if renewing:
        renewer.join()
    ran["renewals"] = renewals
    return ran


def latency(arguments, setting, directory):
    progress = stage.Progress(arguments.pairs * 2 + 1)
    progress.step("warming up")
    window(setting, directory, arguments, False)
    pairs = []
    for number in range(arguments.pairs):
        pair = {}
        # Neither is always first.
        for renewing in (False, True) if number % 2 else (True, False):
            progress.step(f"pair {number + 1}, {'with' if renewing else 'without'} renewals")
            pair["with" if renewing else "without"] = window(setting, directory, arguments, renewing)
        pairs.append(pair)
    ratios = [pair["with"]["p999"] / pair["without"]["p999"] for pair in pairs]
    runs = [run for pair in pairs for run in pair.values()]
    found = {
        "pairs": len(pairs),
        "requests": sum(run["requests"] for run in runs),
        "renewals": sum(run["renewals"] for run in runs),
        "p999_ms_without": statistics.median(pair["without"]["p999"] for pair in pairs),
        "p999_ms_with": statistics.median(pair["with"]["p999"] for pair in pairs),
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "failures": sum(run["bad"] + sum(run["broken"].values()) for run in runs),
    }
    line = ("{pairs} pairs, {requests} requests, {renewals} renewals: p99.9 {p999_ms_without:.2f} ms without,"
            " {p999_ms_with:.2f} ms with, ratio {ratio:.2f} ({ratio_least:.2f}-{ratio_most:.2f}),"
            " {failures} failures").format(**found)
    return found, line, found["ratio"] <= LATENCY_GOAL and found["failures"] == 0


# --- failures ------------------------------------------------------------------------------------


def script(arguments):
    """What happens at which request: spread evenly, the revocations between the renewals."""
    acts = [((number + 0.5) / arguments.renewals, "renew") for number in range(arguments.renewals)]
    acts += [((number + 0.75) / arguments.revocations, "revoke") for number in range(arguments.revocations)]
    return sorted((share * arguments.requests, act) for share, act in acts)


def failures(arguments, setting, directory):
    url = setting.gateway + PATH
    started = setting.ledger()
    running = stage.start_load(directory, url, setting.headers, None, arguments.connections, 86_400)
    acts, done, stuck = script(arguments), {"renew": 0, "revoke": 0}, None
    live, said = sys.stderr.isatty(), time.monotonic()
    try:
        while running.poll() is None:
            answered = setting.ledger()["api_accepted"] - started["api_accepted"]
            if answered >= arguments.requests:
                break
            while acts and acts[0][0] <= answered:
                _, act = acts.pop(0)
                setting.renew() if act == "renew" else setting.revoke()
                done[act] += 1
            if time.monotonic() - said > (1 if live else 30):
                said = time.monotonic()
                text = f"{answered} of {arguments.requests} requests, {done['renew']} renewals, {done['revoke']} revocations"
                print(f"\r\x1b[K{text}" if live else text, end="" if live else "\n", file=sys.stderr, flush=True)
            time.sleep(0.02)
    except NotRenewed as failure:
        stuck = str(failure)
    finally:
        # It stops, and tells what it saw.
        running.send_signal(signal.SIGINT)
    ran = stage.end_load(running, url)
    if live:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    seen = setting.ledger()
    found = {
        "requests": ran["requests"],
        "seconds": round(ran["seconds"], 1),
        "renewals": done["renew"],
        "revocations": done["revoke"],
        "not_2xx": ran["bad"],
        "broken": sum(ran["broken"].values()),
        "upstream_401": seen["status_401"] - started["status_401"],
        "upstream_token_requests": seen["token_requests"] - started["token_requests"],
        "stuck": stuck,
        "p999_ms": ran["p999"],
        "most_ms": ran["most"],
    }
    line = ("{requests} requests in {seconds} s through {renewals} renewals and {revocations} revocations:"
            " {not_2xx} answers not 2xx, {broken} broken; upstream {upstream_401} times 401,"
            " {upstream_token_requests} token requests").format(**found)
    if stuck:
        line += f"; ended early, as {stuck}"
    whole = not acts and ran["requests"] >= arguments.requests
    return found, line, whole and found["not_2xx"] == 0 and found["broken"] == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("latency", "failures"))
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=20, help="of windows (latency)")
    parser.add_argument("--seconds", type=int, default=5, help="of a window (latency)")
    parser.add_argument("--renewals-a-second", type=float, default=4, help="in a window with renewals (latency)")
    parser.add_argument("--requests", type=int, default=10_000_000, help="at least (failures)")
    parser.add_argument("--renewals", type=int, default=1000, help="(failures)")
    parser.add_argument("--revocations", type=int, default=100, help="(failures)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bellwether", default=ROOT / "target/release/bellwether", type=Path)
    arguments = parser.parse_args()
    stage.need(("wrk", "wrk"))
    signal.signal(signal.SIGTERM, stage.terminated)
    if arguments.what == "latency":
        stage.warn_if_busy()
    with tempfile.TemporaryDirectory() as directory:
        try:
            setting = Setting(arguments, directory)
            found, line, met = {"latency": latency, "failures": failures}[arguments.what](arguments, setting, directory)
        finally:
            Process.stop_all()
    print(json.dumps({**found, "met": met}) if arguments.json else f"{line}{'' if met else ': MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
