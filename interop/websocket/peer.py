"""Both ends of a WebSocket: `peer.py serve LAB` is an API that takes the lab's tokens and sends back
what it hears; `peer.py talk URI CA` is a caller, with its key on standard input.

The caller tells one JSON document; the API one line for each handshake in its log.
"""

import json
import ssl
import sys
import urllib.error
import urllib.request

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

LARGE = bytes(range(256)) * 4096


def is_good(lab, authorization):
    request = urllib.request.Request(f"http://{lab}/api/v2/users/agent-1", headers={"Authorization": authorization})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return False


def api(lab):
    def admit(connection, request):
        shown = request.headers.get_all("Authorization")
        good = len(shown) == 1 and is_good(lab, shown[0])
        print(f"handshake authorizations={len(shown)} good={good}", file=sys.stderr, flush=True)
        return None if good else connection.respond(401, "another token, please\n")

    def echo(connection):
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0, process_request=admit, subprotocols=["echo"], max_size=None) as server:
        host, port = server.socket.getsockname()
        print(f"ready api=http://{host}:{port}", file=sys.stderr, flush=True)
        server.serve_forever()


def talk(uri, ca):
    headers = {"Authorization": f"Bearer {sys.stdin.readline().strip()}"}
    context = ssl.create_default_context(cafile=ca) if uri.startswith("wss:") else None
    with connect(uri, additional_headers=headers, subprotocols=["echo"], ssl=context, max_size=None) as connection:
        assert connection.subprotocol == "echo"
        for message in ("hello", "", "ä" * 1000, b"\x00\xff", LARGE):
            connection.send(message)
            assert connection.recv(timeout=20) == message
        assert connection.ping().wait(20)
        print(json.dumps({"messages": 5, "subprotocol": connection.subprotocol}), flush=True)
        # Whoever drives this revokes every token meanwhile: an open connection goes on.
        sys.stdin.readline()
        connection.send("still here")
        assert connection.recv(timeout=20) == "still here"
        connection.close(1000, "done")
    with connect(uri, additional_headers=headers, subprotocols=["echo"], ssl=context) as connection:
        connection.send("again")
        assert connection.recv(timeout=20) == "again"
    try:
        connect(uri, additional_headers={"Authorization": "Bearer nobody's-key-0123456789-0123456789"}, ssl=context)
    except (InvalidStatus, ConnectionClosed) as refused:
        assert refused.response.status_code == 401
        print(json.dumps({"messages": 2, "refused": 1}), flush=True)


if __name__ == "__main__":
    {"serve": api, "talk": talk}[sys.argv[1]](*sys.argv[2:])
