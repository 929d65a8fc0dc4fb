"""Eight programs that share one rotating refresh token, each with the Genesys Cloud SDK for Python.

All present the same refresh token at the same moment, then poll. Half-way through, one has every
access token revoked at the server: each SDK sees what it sees, and refreshes by itself when it must.
Where refresh tokens are strictly single-use, all but one of them would be locked out.

Environment: GATEWAY_HOST, GATEWAY_PORT, CLIENT_ID, CLIENT_SECRET; LAB_CONTROL (the lab that issues
the first refresh token, in place of a person at a login page); PROGRAMS, and POLLS of each; AGENT.
"""

import json
import os
import sys
import threading
import urllib.request

import PureCloudPlatformClientV2 as genesys

PROGRAMS = int(os.environ.get("PROGRAMS", "8"))
POLLS = int(os.environ.get("POLLS", "12"))
AGENT = os.environ.get("AGENT", "agent-1")
CLIENT_ID = os.environ["CLIENT_ID"]
CLIENT_SECRET = os.environ["CLIENT_SECRET"]

counts = {"client": "python-refresh", "logins": 0, "polls": 0, "errors": 0}
counting = threading.Lock()


def count(name, error=None):
    with counting:
        counts[name] += 1
    if error is not None:
        print(f"{name}: {error}", file=sys.stderr)


def direct(path, body):
    request = urllib.request.Request(
        os.environ["LAB_CONTROL"] + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def start(refresh_token):
    """A program that starts with a stored refresh token, as after an earlier login by code."""
    client = genesys.ApiClient()
    client.set_gateway(os.environ["GATEWAY_HOST"], "http", int(os.environ["GATEWAY_PORT"]), "", "")
    client.client_id, client.client_secret = CLIENT_ID, CLIENT_SECRET
    client.refresh_code_authorization_token(CLIENT_ID, CLIENT_SECRET, refresh_token)
    return genesys.UsersApi(client)


def program(number, refresh_token, together):
    together.wait()
    try:
        users = start(refresh_token)
        count("logins")
    except Exception as error:
        return count("errors", error)
    for turn in range(POLLS):
        if number == 0 and turn == POLLS // 2:
            direct("/lab/revoke", {})
        try:
            users.get_user_routingstatus(AGENT)
            count("polls")
        except Exception as error:
            count("errors", error)


def main():
    refresh_token = direct("/lab/refresh-token", {"client": CLIENT_ID})["refresh_token"]
    together = threading.Barrier(PROGRAMS)
    programs = [
        threading.Thread(target=program, args=(number, refresh_token, together)) for number in range(PROGRAMS)
    ]
    for thread in programs:
        thread.start()
    for thread in programs:
        thread.join()
    print(json.dumps(counts))
    return 0 if counts["errors"] == 0 and counts["polls"] == PROGRAMS * POLLS else 1


if __name__ == "__main__":
    sys.exit(main())
