"""Polls one agent through the Genesys Cloud SDK for Python, from several threads that share a client.

Nothing here knows about tokens: the SDK logs in, and its `gateway` setting says where. Half-way
through, one thread has every token revoked at the server; the others are in mid-request.

Environment: GATEWAY_HOST, GATEWAY_PORT, CLIENT_ID, CLIENT_SECRET; POLLERS and POLLS (per poller);
AGENT; LAB_CONTROL (a lab's address; without it nothing is revoked).
"""

import json
import os
import sys
import threading
import urllib.request

import PureCloudPlatformClientV2 as genesys

POLLERS = int(os.environ.get("POLLERS", "8"))
POLLS = int(os.environ.get("POLLS", "12"))
AGENT = os.environ.get("AGENT", "agent-1")
LAB_CONTROL = os.environ.get("LAB_CONTROL", "")


class Counts:
    """What happened, counted by several threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.logins = self.polls = self.errors = 0

    def add(self, name, error=None):
        with self.lock:
            setattr(self, name, getattr(self, name) + 1)
        if error is not None:
            print(f"{name}: {error}", file=sys.stderr)


def log_in(counts):
    client = genesys.ApiClient()
    client.set_gateway(os.environ["GATEWAY_HOST"], "http", int(os.environ["GATEWAY_PORT"]), "", "")
    client.get_client_credentials_token(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"])
    counts.add("logins")
    return genesys.UsersApi(client)


def poll(users, counts):
    try:
        users.get_user_routingstatus(AGENT)
        counts.add("polls")
    except Exception as error:
        counts.add("errors", error)


def revoke_all_tokens():
    request = urllib.request.Request(
        f"{LAB_CONTROL}/lab/revoke", b"{}", {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).read()


def poller(users, counts, revokes):
    for turn in range(POLLS):
        if revokes and turn == POLLS // 2:
            revoke_all_tokens()
        poll(users, counts)


def main():
    counts = Counts()
    users = log_in(counts)
    threads = [
        threading.Thread(target=poller, args=(users, counts, number == 0 and LAB_CONTROL != ""))
        for number in range(POLLERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A program that starts anew logs in again: that must cost no request upstream.
    poll(log_in(counts), counts)
    print(json.dumps({"client": "python", "logins": counts.logins, "polls": counts.polls, "errors": counts.errors}))
    return 0 if counts.errors == 0 and counts.polls == POLLERS * POLLS + 1 else 1


if __name__ == "__main__":
    sys.exit(main())
