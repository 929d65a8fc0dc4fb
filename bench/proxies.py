#!/usr/bin/env python3
"""A request through a proxy that puts the token in: Bellwether beside nginx, HAProxy and Envoy.

    bench/proxies.py                                           all that is installed; half an hour
    bench/proxies.py --connections 50,200 --body small --contestants nginx,bellwether --rounds 3
    bench/proxies.py --tls                                     the API behind has a certificate
    bench/proxies.py --check                                   exit status 1 if a goal is missed

Each contestant has one worker and CPU 0 to itself; wrk and the API (nginx, one worker) have CPU 1.
The API answers 401 unless the very token arrives that the contestant is to put in; the caller shows
something else. Contestants take turns, and each ratio is between neighbours of one round. Needs
nginx, wrk, two CPUs and `cargo build --release -p bellwether`; what else is not installed is left out.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True

import stage  # noqa: E402
from stage import ALONE, BESIDE, CLIENT, KEY, ROOT, Process, ask, free_port, nginx, until_answered  # noqa: E402

PATHS = {"small": "/api/v2/users", "large": "/api/v2/recordings"}
SIZES = {"small": "1 KB", "large": "1 MiB"}
# What the API saw, for whoever asks through a contestant.
MIRROR = "/mirror"
NAMES = {
    "nginx": "nginx, static header",
    "haproxy": "HAProxy, static header",
    "envoy": "Envoy, static header",
    "envoy-injector": "Envoy, `credential_injector`",
    "bare": "hyper alone, static header",
    "bellwether": "**bellwether**",
}
INSTALL = {
    "nginx": "apt-get install nginx-light",
    "haproxy": "apt-get install haproxy",
    "envoy": "interop/install envoy",
    "envoy-injector": "interop/install envoy",
    "bare": "cargo build --release, in bench/floor",
    "bellwether": "cargo build --release -p bellwether",
}
# Medians of rounds, at these numbers of connections, small bodies.
GOAL_CONNECTIONS = (50, 200)
GOALS = (
    ("cpu", "nginx", 1.20),
    ("p99", "nginx", 1.25),
    ("cpu", "envoy-injector", 0.60),
)


def program(name, arguments):
    """Where a contestant's program is, if it is anywhere."""
    if name == "bellwether":
        return arguments.bellwether if arguments.bellwether.exists() else None
    if name == "bare":
        return arguments.bare_proxy if arguments.bare_proxy.exists() else None
    if name.startswith("envoy"):
        own = ROOT / "interop/.cache/envoy/bin/envoy"
        return arguments.envoy or (own if own.exists() else shutil.which("envoy"))
    return shutil.which(name, path=stage.PATH)


class Origin:
    """The API: nginx with one worker, which knows every contestant's token."""

    def __init__(self, directory, tls):
        self.directory, self.port, self.tls = directory, free_port(), tls
        Path(directory, "api/v2").mkdir(parents=True)
        Path(directory, "api/v2/recordings").write_bytes(os.urandom(1 << 20))
        self.process = None
        self.ca = self._certificate() if tls else None
        self.start(set())

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    def start(self, bearers):
        """Anew, with these and no other tokens good."""
        if self.process:
            self.process.stop()
        answer = json.dumps({"entities": "x" * 1000})
        known = "\n".join(f'"{bearer}" 1;' for bearer in bearers)
        location = f"""
        {f"ssl_certificate {self.directory}/origin.pem; ssl_certificate_key {self.directory}/origin.key;" if self.tls else ""}
        location = {MIRROR} {{ return 200 $http_authorization; }}
        location = {PATHS["small"]} {{
            default_type application/json;
            if ($known = 0) {{ return 401; }}
            return 200 '{answer}';
        }}
        location = {PATHS["large"]} {{
            default_type application/octet-stream;
            if ($known = 0) {{ return 401; }}
            root {self.directory};
        }}"""
        http = f"map_hash_bucket_size 1024; map $http_authorization $known {{ default 0; {known} }}"
        listen = f"{self.port} ssl" if self.tls else self.port
        self.process = Process(nginx(self.directory, "origin", listen, location, http), BESIDE)
        until_answered(self.port)

    def _certificate(self):
        """A certificate authority and a certificate of its own, for an hour or two."""
        def openssl(*command):
            subprocess.run(["openssl", *command], cwd=self.directory, check=True, capture_output=True)

        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=bench",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
        openssl("req", *key, "-keyout", "origin.key", "-out", "origin.csr", "-subj", "/CN=localhost")
        Path(self.directory, "origin.ext").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", "origin.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "origin.ext", "-out", "origin.pem")
        return Path(self.directory, "ca.pem")


def start_nginx(where, origin, _login, bearer, _arguments):
    port = free_port()
    http = f"upstream origin {{ server 127.0.0.1:{origin.port}; keepalive 1024; keepalive_requests 1000000000; }}"
    tls = f"""proxy_ssl_trusted_certificate {origin.ca};
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
            proxy_ssl_server_name on;""" if origin.tls else ""
    # A body that the caller has not read yet waits in memory, as with the others.
    location = f"""location / {{
            proxy_pass {"https" if origin.tls else "http"}://origin;
            proxy_http_version 1.1;
            proxy_max_temp_file_size 0;
            proxy_set_header Connection "";
            proxy_set_header Authorization "{bearer}";
            {tls}
        }}"""
    process = Process(nginx(where, "proxy", port, location, http), ALONE)
    until_answered(port)
    return process, f"http://127.0.0.1:{port}"


def start_haproxy(where, origin, _login, bearer, arguments):
    port = free_port()
    tls = f"ssl verify required ca-file {origin.ca} sni str(localhost) verifyhost localhost" if origin.tls else ""
    path = Path(where, "haproxy.cfg")
    path.write_text(f"""
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend callers
    bind 127.0.0.1:{port}
    default_backend origin
backend origin
    http-request set-header Authorization "{bearer}"
    server origin 127.0.0.1:{origin.port} {tls}
""")
    process = Process([program("haproxy", arguments), "-db", "-q", "-f", path], ALONE)
    until_answered(port)
    return process, f"http://127.0.0.1:{port}"


def cluster(name, port, ca=None):
    found = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        # Beyond any number of connections that is asked for here.
        "circuit_breakers": {"thresholds": [
            {"max_connections": 8192, "max_pending_requests": 8192, "max_requests": 8192}]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]},
    }
    if ca:
        found["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "localhost",
            "common_tls_context": {"validation_context": {"trusted_ca": {"filename": str(ca)}}},
        }}
    return found


def start_envoy(where, origin, _login, bearer, arguments):
    header = {"header": {"key": "authorization", "value": bearer},
              "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return envoy(where, origin, arguments, {"request_headers_to_add": [header]}, [], [])


def start_envoy_injector(where, origin, login, _bearer, arguments):
    port = int(login.rpartition(":")[2])
    secret = {"name": "client-secret", "generic_secret": {"secret": {"inline_string": CLIENT[1]}}}
    injector = {"name": "envoy.filters.http.credential_injector", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
        "overwrite": True,
        "credential": {"name": "envoy.http.injected_credentials.oauth2", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2",
            "token_endpoint": {"uri": f"{login}/oauth/token", "cluster": "login", "timeout": "5s"},
            "client_credentials": {"client_id": CLIENT[0], "client_secret": {"name": "client-secret"}},
        }},
    }}
    return envoy(where, origin, arguments, {}, [injector], [cluster("login", port)], [secret])


def envoy(where, origin, arguments, route, filters, clusters, secrets=()):
    port = free_port()
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
                 ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "callers",
        "codec_type": "HTTP1",
        "generate_request_id": False,
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "0s"}, **route}],
        }]},
        "http_filters": [*filters, {"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    }
    listener = {
        "name": "callers",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }
    path = Path(where, "envoy.json")
    path.write_text(json.dumps({"static_resources": {
        "listeners": [listener],
        "clusters": [cluster("origin", origin.port, origin.ca), *clusters],
        "secrets": list(secrets),
    }}))
    command = [program("envoy", arguments), "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    process = Process(command, ALONE)
    until_answered(port)
    return process, f"http://127.0.0.1:{port}"


def start_bare(_where, origin, _login, bearer, arguments):
    process = Process([arguments.bare_proxy, f"http://127.0.0.1:{origin.port}", bearer], ALONE, r"ready (\S+)")
    return process, process.found[1]


def start_bellwether(where, origin, login, _bearer, arguments):
    # The way to trust somebody that every program on the machine's roots takes.
    trust = {"SSL_CERT_FILE": str(origin.ca)} if origin.tls else {}
    process = stage.serve(arguments.bellwether, "--config", stage.configuration(where, login, origin.url), environment=trust)
    if process.workers() > 1:
        raise SystemExit(f"bellwether has {process.workers()} workers and not one")
    return process, process.found[1]


START = {
    "nginx": start_nginx,
    "haproxy": start_haproxy,
    "envoy": start_envoy,
    "envoy-injector": start_envoy_injector,
    "bare": start_bare,
    "bellwether": start_bellwether,
}


def contestants(arguments, directory):
    """By name: process and address, each asked once and known to the origin."""
    login = stage.lab(arguments.bellwether, "--profile", "plain", "--lifetime", "24h").found[1]
    token = json.loads(stage.token_answer(f"{login}/oauth/token", CLIENT))["access_token"]
    api = Path(directory, "origin")
    api.mkdir()
    origin = Origin(str(api), arguments.tls)
    started, bearers = {}, set()
    for name in arguments.contestants:
        if program(name, arguments) is None:
            stage.say(f"without {name}: it is not installed ({INSTALL[name]})")
            continue
        if name == "bare" and arguments.tls:
            stage.say("without bare: it speaks no TLS")
            continue
        where = Path(directory, name)
        where.mkdir()
        process, url = START[name](str(where), origin, login, f"Bearer {token}", arguments)
        bearers.add(bearer_of(url))
        started[name] = (process, url)
    origin.start(bearers)
    return started


def bearer_of(url):
    """The token that the API gets from a contestant; whoever fetches one may need a moment."""
    found = ""
    for _ in range(50):
        try:
            found = ask(url + MIRROR, headers={"Authorization": f"Bearer {KEY}"})
        except OSError:
            pass
        if found.startswith("Bearer ") and KEY not in found:
            return found
        time.sleep(0.1)
    raise SystemExit(f"{url} put no token in: {found or 'no answer'}")


def measure(all, body, arguments, directory):
    """Figures by body, connections and contestant: a run for each round."""
    shapes = [(body, connections) for connections in arguments.connections]
    names = list(all)
    figures = {shape: {name: [] for name in names} for shape in shapes}
    progress = stage.Progress((arguments.rounds + 1) * len(names) * len(shapes))
    for turn in range(arguments.rounds + 1):
        for body, connections in shapes:
            # Nobody is always first.
            for name in names[turn % len(names):] + names[:turn % len(names)]:
                progress.step(f"{name}, {SIZES[body]}, {connections} connections")
                # The first opens connections and warms up; a thousand large bodies need longer than that.
                if turn == 0:
                    run(all[name], directory, body, connections, 1, least=0)
                else:
                    ran = run(all[name], directory, body, connections, arguments.seconds)
                    figures[body, connections][name].append(ran)
        if turn > 0:
            progress.round(turn, arguments.rounds)
    return figures


def run(contestant, directory, body, connections, seconds, least=1):
    process, url = contestant
    quiet, before = stage.Quiet(), process.cpu_seconds()
    headers = {"Authorization": f"Bearer {KEY}"}
    ran = stage.load(directory, url + PATHS[body], headers, None, connections, seconds, least)
    ran["cpu"] = (process.cpu_seconds() - before) / max(1, ran["requests"]) * 100_000
    ran["pss"] = process.pss_mb()
    ran["stolen"] = quiet.stolen()
    return ran


def ratios(runs, base, key):
    return [run[key] / other[key] if other[key] else float("nan") for run, other in zip(runs, base)]


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def summary(figures):
    """For each shape of load and contestant, medians and what they lie between."""
    found = []
    for (body, connections), runs_by_name in figures.items():
        base = runs_by_name.get("nginx")
        for name, runs in runs_by_name.items():
            row = {"body": body, "connections": connections, "contestant": name}
            for key in ("rate", "p50", "p99", "p999", "cpu", "pss"):
                values = [run[key] for run in runs]
                row[key] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
            for key in ("cpu", "p99") if base else ():
                row[f"{key}_to_nginx"] = ratios(runs, base, key)
            row["bad"] = sum(run["bad"] for run in runs)
            row["broken"] = sum(sum(run["broken"].values()) for run in runs)
            row["stolen"] = max(run["stolen"] for run in runs)
            found.append(row)
    return found


def print_tables(rows):
    for body, connections in dict.fromkeys((row["body"], row["connections"]) for row in rows):
        print(f"\n{SIZES[body]}, {connections} connections:\n")
        print("| contestant | CPU ratio to nginx (min-max) | p99 ratio to nginx (min-max) | CPU-s per 100k requests (min-max)"
              " | req/s | p50 ms | p99 ms | p99.9 ms | PSS MB | non-2xx |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for row in rows:
            if (row["body"], row["connections"]) != (body, connections):
                continue
            to_nginx = [spread(row[key]) if key in row else "-" for key in ("cpu_to_nginx", "p99_to_nginx")]
            cpu = "{median:.2f} ({min:.2f}-{max:.2f})".format(**row["cpu"])
            print(f"| {NAMES[row['contestant']]} | {' | '.join(to_nginx)} | {cpu} | {row['rate']['median']:.0f}"
                  f" | {row['p50']['median']:.2f} | {row['p99']['median']:.2f} | {row['p999']['median']:.2f}"
                  f" | {row['pss']['median']:.0f} | {row['bad']} |")


def objections(rows):
    """Answers of ours that were not 2xx, and connections that broke; those of others are told of."""
    found = []
    for row in rows:
        if row["bad"] or row["broken"]:
            line = (f"{row['contestant']}, {SIZES[row['body']]}, {row['connections']} connections:"
                    f" {row['bad']} answers were not 2xx, {row['broken']} errors of connections")
            found.append(line) if row["contestant"] == "bellwether" else stage.say(line)
    stolen = max(row["stolen"] for row in rows)
    if stolen > stage.STOLEN_SHARE:
        stage.say(f"warning: the host stole up to {stolen:.1%} of a run")
    return found


def goals(figures):
    """Each goal as a line, and whether it is met."""
    for connections in GOAL_CONNECTIONS:
        runs = figures.get(("small", connections), {})
        for key, base, most in GOALS:
            what = f"{key} to {base}, {connections} connections: at most {most:.2f}"
            if "bellwether" not in runs or base not in runs:
                yield f"{what}: not measured", False
                continue
            measured = ratios(runs["bellwether"], runs[base], key)
            met = statistics.median(measured) <= most
            yield f"{what}: {spread(measured)}{'' if met else ', MISSED'}", met


def some_of(known):
    def read(text):
        named = [part.strip() for part in text.split(",")]
        for name in named:
            if name not in known:
                raise argparse.ArgumentTypeError(f"no '{name}'; there are {', '.join(known)}")
        return named
    return read


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=numbers, default=[1, 50, 200, 1000], metavar="N,…")
    parser.add_argument("--body", type=some_of(PATHS), default=list(PATHS), metavar="small,large")
    parser.add_argument("--contestants", type=some_of(START), default=list(START), metavar="NAME,…",
                        help=f"of {', '.join(START)}")
    parser.add_argument("--tls", action="store_true", help="TLS to the API")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each run of wrk")
    parser.add_argument("--check", action="store_true", help="exit status 1 if a goal is missed")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one document with every run")
    form.add_argument("--markdown", action="store_true", help="tables (what it does anyway)")
    parser.add_argument("--bellwether", default=ROOT / "target/release/bellwether", type=Path)
    parser.add_argument("--envoy", type=Path, help="where it is, if not where interop/install puts it")
    parser.add_argument("--bare-proxy", default=ROOT / "bench/floor/target/release/bare_proxy", type=Path)
    arguments = parser.parse_args()
    if not arguments.bellwether.exists():
        # Its lab gives out the tokens.
        parser.error(f"there is no {arguments.bellwether}: {INSTALL['bellwether']}")
    stage.need(("wrk", "wrk"), ("nginx", "nginx-light"), ("openssl", "openssl"))
    signal.signal(signal.SIGTERM, stage.terminated)
    machine = stage.warn_if_busy()
    figures = {}
    # Anew for each body: what a large one leaves behind in memory is not the small one's.
    for body in arguments.body:
        with tempfile.TemporaryDirectory() as directory:
            try:
                figures |= measure(contestants(arguments, directory), body, arguments, directory)
            finally:
                Process.stop_all()
    rows = summary(figures)
    wrong = objections(rows)
    checked = list(goals(figures)) if arguments.check else []
    if arguments.json:
        runs = [{"body": body, "connections": connections, "runs": runs}
                for (body, connections), runs in figures.items()]
        print(json.dumps({"machine": machine, "tls": arguments.tls, "runs": runs, "summary": rows,
                          "goals": [{"goal": line, "met": met} for line, met in checked], "wrong": wrong}))
    else:
        print_tables(rows)
    for line in wrong:
        stage.say(f"WRONG: {line}")
    for line, _ in checked:
        stage.say(f"goal: {line}")
    return 1 if wrong or not all(met for _, met in checked) else 0


if __name__ == "__main__":
    sys.exit(main())
