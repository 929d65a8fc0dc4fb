"""Real authorization servers that rotate refresh tokens, and a person who logs in at them.

Each keeps a record of its own; it must show that no refresh token was ever sent twice.
"""

import base64
import contextlib
import hashlib
import json
import os
import queue
import re
import secrets
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import user
from processes import DONE_WITHIN, Failure, end, get_json, launch, server, start

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
# Installed where the system's own is too old.
OWN_NODE = CACHE / "oidc-provider" / "node_modules" / "node" / "bin" / "node"
CLIENT_SECRET = "lab-client-secret"
OPERATOR_KEY = "interop-operator-key-0123456789abcdef"
RENEWALS = 6


@dataclass
class Kind:
    """A server: how it starts, and what a configuration says of it."""

    command: list
    server: str
    credential: str
    token_path: str
    resource: str
    public: bool
    environment: dict
    device: bool = False


OIDC_PROVIDER = Kind(
    # Its modules are found beside it.
    command=["node", str(CACHE / "oidc-provider" / "server.mjs")],
    # Everything but the token endpoint is discovered, and whoever answers says who it is.
    server='issuer = "{issuer}"\ntoken_endpoint = "{issuer}/token"\n',
    credential='client_id = "public"\nscope = "openid offline_access"\n'
    'authorization_parameters = {{ prompt = "consent" }}\n',
    token_path="/token",
    resource="/me",
    public=True,
    environment={},
    device=True,
)

DJANGO = Kind(
    command=[str(CACHE / "django" / "bin" / "python"), str(HERE / "django" / "server.py")],
    server='token_endpoint = "{issuer}/o/token/"\nauthorization_endpoint = "{issuer}/o/authorize/"\n'
    'revocation_endpoint = "{issuer}/o/revoke_token/"\n',
    credential='client_id = "confidential"\nclient_secret = {{ env = "CLIENT_SECRET" }}\nscope = "read write"\n',
    token_path="/o/token/",
    resource="/me",
    public=False,
    environment={},
)

DJANGO_PROTECTED = Kind(**{**DJANGO.__dict__, "environment": {"REUSE_PROTECTION": "1"}})

KINDS = {"oidc-provider": OIDC_PROVIDER, "django": DJANGO, "django-protected": DJANGO_PROTECTED}


def run(name, bellwether, directory):
    """One server from its start to its end; returns counts, and the server's own record."""
    kind = KINDS[name]
    environment = {
        "CLIENT_SECRET": CLIENT_SECRET,
        "ACCESS_TOKEN_LIFETIME": "600",
        "DATABASE": str(directory / "django.db"),
        "NODE_NO_WARNINGS": "1",
        **kind.environment,
    }
    with contextlib.ExitStack() as stack:
        command = [str(OWN_NODE) if word == "node" and OWN_NODE.exists() else word for word in kind.command]
        ready = stack.enter_context(server(command, directory / "server.log", environment))
        return _Play(kind, f"http://{ready['issuer']}", bellwether, directory, stack).play()


class _Play:
    def __init__(self, kind, issuer, bellwether, directory, stack):
        self.kind, self.issuer, self.bellwether, self.directory = kind, issuer, bellwether, directory
        self.stack = stack
        self.environment = os.environ | {"CLIENT_SECRET": CLIENT_SECRET}
        self.tokens = 0
        self.secrets = []
        self.serving = None
        credential = kind.credential.format(issuer=issuer)
        names = ["mine", "brought", "unused"] + (["device"] if kind.device else [])
        configuration = (
            '[gateway]\nlisten = "127.0.0.1:0"\n[admin]\nlisten = "127.0.0.1:0"\nkey = { file = "operator.key" }\n'
            '[store]\nurl = "sqlite:store/bellwether.db"\n'
            f'[[authorization_server]]\nname = "real"\n{kind.server.format(issuer=issuer)}'
        )
        for name in names:
            configuration += f'[[credential]]\nname = "{name}"\nauthorization_server = "real"\n'
            configuration += f'grant = "refresh_token"\n{credential}'
        (directory / "bellwether.toml").write_text(configuration)
        key = directory / "operator.key"
        key.write_text(OPERATOR_KEY)
        key.chmod(0o600)

    # --- the play --------------------------------------------------------------------------------

    def play(self):
        self.expect(self.command("token", "mine"), 1, "bellwether login mine")
        self.serve()
        self.state("mine", "needs_reauth", "bellwether login mine")
        self.log_in("mine")
        self.state("mine", "fresh")
        self.fetch("mine")
        for renewal in range(RENEWALS):
            if renewal == RENEWALS // 2:
                self.kill()
                self.serve()
            self.renew("mine")
        self.kill()
        # Without a broker the same token comes straight from the store.
        self.fetch("mine")
        self.serve()
        if self.kind.device:
            self.log_in("device", "--device")
            self.renew("device")

        self.import_token("brought")
        self.renew("brought")
        self.log_out("mine")
        self.state("mine", "needs_reauth", "bellwether login mine")
        self.expect(self.command("token", "mine"), 1, "bellwether login mine")

        # Its text is known here: the server must not take it after a logout.
        self.kill()
        token = self.import_token("unused", state="renewing")
        self.log_out("unused")
        status, answer = self.refresh(token)
        if (status, answer.get("error")) != (400, "invalid_grant"):
            raise Failure(f"a refresh token that was given back is answered with {status} {answer.get('error')}")
        # And somebody who comes again gets in again, past what was given back.
        self.serve()
        self.log_in("mine")
        self.renew("mine")
        self.log_out("mine")
        self.log_out("brought")
        if self.kind.device:
            self.log_out("device")

        ledger = get_json(f"{self.issuer}/ledger")
        if ledger["refresh_uses"] != 1:
            raise Failure(f"a refresh token was sent {ledger['refresh_uses']} times")
        # The one refusal is our own question above.
        if ledger["refused"] != 1:
            raise Failure(f"{ledger['refused']} refresh tokens were refused, 1 is due")
        if ledger["good"] != 0:
            raise Failure(f"{ledger['good']} refresh tokens are still good after every logout")
        refreshes = RENEWALS + 2 + 1 + (1 if self.kind.device else 0) + 1
        if ledger["refreshes"] != refreshes:
            raise Failure(f"{ledger['refreshes']} refresh requests, {refreshes} are due")
        self.out_of_reach()
        self.look_for_secrets()
        counts = {"client": "bellwether", "logins": 2 + self.kind.device, "polls": self.tokens, "errors": 0}
        return 0, counts, ledger | {"status_401": "–"}

    def out_of_reach(self):
        """Nobody revokes where nobody listens: then it is kept, unless it is to be forgotten."""
        self.import_token("unused", state=None)
        configuration = self.directory / "bellwether.toml"
        text = configuration.read_text()
        # The identity of a grant is its client and its token endpoint, so those stay.
        closed = "http://127.0.0.1:1"
        text = re.sub(r'^(issuer|revocation_endpoint) = .*$', rf'\1 = "{closed}"', text, flags=re.M)
        elsewhere = self.directory / "out-of-reach.toml"
        elsewhere.write_text(text)
        told = self.command("logout", "unused", "--config", str(elsewhere), "--json")
        self.expect(told, 1)
        if json.loads(told.stdout) | {"why": ""} != {"name": "unused", "revoked": False, "forgotten": False, "why": ""}:
            raise Failure(f"an unreachable server: {told.stdout}")
        self.expect(self.command("logout", "unused", "--config", str(elsewhere), "--forget"), 0)
        self.expect(self.command("token", "unused"), 1, "bellwether login unused")

    # --- commands --------------------------------------------------------------------------------

    def command(self, *arguments, given=None):
        result = subprocess.run(
            [self.bellwether, *arguments], cwd=self.directory, env=self.environment, text=True,
            input=given or "", capture_output=True, timeout=DONE_WITHIN,
        )  # fmt: skip
        with open(self.directory / "commands.log", "a") as log:
            log.write(f"$ bellwether {' '.join(arguments)}\n{result.stderr}")
        return result

    @staticmethod
    def expect(result, status, said=""):
        if result.returncode != status or said not in result.stderr:
            command = " ".join(result.args[1:])
            raise Failure(f"`{command}`: exit status {result.returncode}: {result.stderr.strip()[-400:]}")

    def fetch(self, name):
        result = self.command("token", name)
        self.expect(result, 0)
        token = result.stdout.strip()
        self.secrets.append(token)
        request = urllib.request.Request(
            self.issuer + self.kind.resource, headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
        self.tokens += 1
        return token

    def log_in(self, name, *flags):
        flags = flags or ("--no-browser",)
        process = start(
            [self.bellwether, "login", name, "--json", *flags],
            cwd=self.directory, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        lines = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line in process.stderr] + [lines.put("")]).start()
        try:
            seen = []
            urls = []
            # The device's second address has the code in it.
            while len(urls) < (2 if "--device" in flags else 1):
                line = lines.get(timeout=DONE_WITHIN)
                if not line:
                    raise Failure(f"`login {name}` ended: {' '.join(seen)[-400:]}")
                seen.append(line.strip())
                urls += re.findall(r"^  (http://\S+)", line)
            user.visit(urls[-1])
            output, _ = process.communicate(timeout=DONE_WITHIN)
        finally:
            end(process)
        if process.returncode != 0:
            raise Failure(f"`login {name}`: exit status {process.returncode}: {output}")
        told = json.loads(output)
        if told["name"] != name or told["state"] != "fresh" or not told["expires_at"] or "token" in output:
            raise Failure(f"`login {name}` says {output}")

    def import_token(self, name, state="fresh"):
        token = self.obtain()
        self.secrets.append(token)
        result = self.command("login", name, "--import", "--json", given=f"  {token}\n")
        self.expect(result, 0)
        told = json.loads(result.stdout)
        if state and told["state"] != state:
            raise Failure(f"an imported refresh token is {told}")
        return token

    def log_out(self, name):
        result = self.command("logout", name, "--json")
        self.expect(result, 0)
        if json.loads(result.stdout) != {"name": name, "revoked": True, "forgotten": True}:
            raise Failure(f"`logout {name}` says {result.stdout}")

    # --- the broker ------------------------------------------------------------------------------

    def serve(self):
        command = [self.bellwether, "serve", "--config", str(self.directory / "bellwether.toml")]
        self.serving, ready = launch(command, self.directory / "serve.log", self.environment)
        self.stack.callback(end, self.serving)
        self.admin = f"http://{ready['admin']}"

    def kill(self):
        end(self.serving)

    def view(self, name):
        views = get_json(f"{self.admin}/v1/credentials")
        return next(view for view in views["credentials"] if view["name"] == name)

    def state(self, name, state, why=""):
        deadline = time.monotonic() + 20
        while (view := self.view(name))["state"] != state:
            if time.monotonic() > deadline:
                raise Failure(f"{name} is {view['state']} ({view['why']}), not {state}")
            time.sleep(0.05)
        if why not in view["why"]:
            raise Failure(f"{name} is {state} and says: {view['why']}")

    def renew(self, name):
        before = get_json(f"{self.issuer}/ledger")["refreshes"]
        request = urllib.request.Request(
            f"{self.admin}/v1/credentials/{name}/renew", data=b"{}", method="POST",
            headers={"Authorization": f"Bearer {OPERATOR_KEY}", "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
        deadline = time.monotonic() + 20
        while get_json(f"{self.issuer}/ledger")["refreshes"] == before:
            if time.monotonic() > deadline:
                raise Failure(f"{name} was not renewed: {self.view(name)}")
            time.sleep(0.05)
        self.state(name, "fresh")
        self.fetch(name)

    # --- the same without Bellwether -------------------------------------------------------------

    def obtain(self):
        """A refresh token, as another program would have it."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        redirect_uri = "http://127.0.0.1:1/callback"
        query = {
            "response_type": "code", "client_id": self.client(), "redirect_uri": redirect_uri, "state": "x",
            "code_challenge": challenge, "code_challenge_method": "S256",
            "scope": "openid offline_access" if self.kind.public else "read write", "prompt": "consent",
        }  # fmt: skip
        if not self.kind.public:
            del query["prompt"]
        path = "/auth" if self.kind.public else "/o/authorize/"
        came_back = user.visit(f"{self.issuer}{path}?{urllib.parse.urlencode(query)}", done=redirect_uri)
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(came_back).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        status, answer = self.ask(form | {"code_verifier": verifier})
        if status != 200 or "refresh_token" not in answer:
            raise Failure(f"no refresh token to import: {status} {answer.get('error')}")
        return answer["refresh_token"]

    def refresh(self, token):
        return self.ask({"grant_type": "refresh_token", "refresh_token": token})

    def client(self):
        return "public" if self.kind.public else "confidential"

    def ask(self, form):
        form["client_id"] = self.client()
        if not self.kind.public:
            form["client_secret"] = CLIENT_SECRET
        body = urllib.parse.urlencode(form).encode()
        try:
            with urllib.request.urlopen(self.issuer + self.kind.token_path, body, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def look_for_secrets(self):
        """No log, error or file of the store holds a token that is known here."""
        files = [self.directory / "serve.log", self.directory / "commands.log"]
        files += [path for path in (self.directory / "store").rglob("*") if path.is_file()]
        for path in files:
            content = path.read_bytes()
            if any(secret.encode() in content for secret in self.secrets):
                raise Failure(f"{path.name} holds a token")
