#!/usr/bin/env python3
"""What the cached answer of POST /oauth/token costs the process that gives it, beside nginx, in CPU time.

    bench/token_endpoint.py

Each contestant has one worker and CPU 0 to itself; wrk, and what stands behind the contestant, have
CPU 1. Rounds alternate between contestants, and each ratio is of one round. Needs nginx, wrk, two
CPUs, and `cargo build --release -p bellwether`; with `cargo build --release` in `bench/floor` the
engine alone is measured too.
"""

import argparse
import signal
import statistics
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

import stage  # noqa: E402
from stage import ALONE, CLIENT, KEY, ROOT, Process, basic, free_port, nginx, token_answer, until_answered  # noqa: E402

CONNECTIONS = (50, 200)


def contestants(arguments, directory):
    """By name: process, address, headers, body."""
    login = stage.lab(arguments.bellwether, "--profile", "plain", "--lifetime", "24h").found[1]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = "grant_type=client_credentials"

    own = stage.serve(arguments.bellwether, "--token-endpoint", f"{login}/oauth/token", "--store", "memory:")
    own_url = own.found[1] + "/oauth/token"
    constant = token_answer(own_url, CLIENT)

    configured = stage.serve(arguments.bellwether, "--config", stage.configuration(directory, login))
    configured_url = configured.found[1] + "/oauth/token"
    token_answer(configured_url, ("caller", KEY))

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
            configured, configured_url, {**form, "Authorization": basic("caller", KEY)}, body),
    }


def measure(all, arguments, directory):
    names = list(all)
    figures = {(name, connections): [] for name in names for connections in CONNECTIONS}
    progress = stage.Progress(arguments.rounds * len(figures))
    for turn in range(arguments.rounds):
        for connections in CONNECTIONS:
            # Nobody is always first.
            for name in names[turn % len(names):] + names[:turn % len(names)]:
                process, url, headers, body = all[name]
                progress.step(f"{name}, {connections} connections")
                before = process.cpu_seconds()
                ran = stage.load(directory, url, headers, body, connections, arguments.seconds)
                spent = process.cpu_seconds() - before
                ran["cpu"] = spent / ran["requests"] * 100_000
                ran["pss"] = process.pss_mb()
                figures[name, connections].append(ran)
        progress.round(turn + 1, arguments.rounds)
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each run of wrk")
    parser.add_argument("--bellwether", default=ROOT / "target/release/bellwether", type=Path)
    parser.add_argument("--bare-hyper", default=ROOT / "bench/floor/target/release/bare_hyper", type=Path)
    arguments = parser.parse_args()
    stage.need(("wrk", "wrk"), ("nginx", "nginx-light"))
    signal.signal(signal.SIGTERM, stage.terminated)
    stage.warn_if_busy()
    with tempfile.TemporaryDirectory() as directory:
        try:
            all = contestants(arguments, directory)
            for name, (process, *_) in all.items():
                if name.startswith("bellwether") and process.workers() > 1:
                    raise SystemExit(f"{name} has {process.workers()} workers and not one")
            figures = measure(all, arguments, directory)
        finally:
            Process.stop_all()
    print_tables(figures, list(all))


if __name__ == "__main__":
    main()
