"""Polls many agents on schedule through the Genesys Cloud SDK for Python: threads with a session each.

Each agent has a slot every PERIOD seconds, at the same times from the start of the run on, whatever
came of the slots before. A slot is sampled if an answer is there before the agent's next slot is due.
Nothing is tried twice, and nothing here knows about tokens.

Environment: GATEWAY_HOST, GATEWAY_PORT, CLIENT_ID, CLIENT_SECRET; AGENTS, PERIOD and SLOTS of each
agent; PARTS and PART (this process polls each PARTSth agent); THREADS. Says `ready` when every thread
has logged in, and begins at the Unix time that it is told on standard input.
"""

import collections
import json
import os
import sys
import threading
import time

import PureCloudPlatformClientV2 as genesys

AGENTS, SLOTS = int(os.environ["AGENTS"]), int(os.environ["SLOTS"])
PERIOD = float(os.environ["PERIOD"])
PARTS, PART = int(os.environ["PARTS"]), int(os.environ["PART"])
THREADS = int(os.environ["THREADS"])


class Poller:
    """A thread, its session, and its agents in the order in which they are due."""

    def __init__(self, agents):
        self.agents, self.counts, self.latencies = agents, collections.Counter(), []
        client = genesys.ApiClient()
        client.set_gateway(os.environ["GATEWAY_HOST"], "http", int(os.environ["GATEWAY_PORT"]), "", "")
        client.get_client_credentials_token(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"])
        self.users = genesys.UsersApi(client)

    def run(self, began):
        for slot in range(SLOTS):
            for agent in self.agents:
                self.poll(agent, began + (slot + agent / AGENTS) * PERIOD)

    def poll(self, agent, due):
        if (wait := due - time.time()) > 0:
            time.sleep(wait)
        self.counts["due"] += 1
        try:
            self.users.get_user_routingstatus(f"agent-{agent}")
        except genesys.rest.ApiException as error:
            kind = {401: "status_401", 429: "status_429"}.get(error.status, "other_errors")
            self.counts[kind] += 1
            self.missed(kind, f"{error.status} {error.reason} {error.body}")
            return
        except Exception as error:
            self.counts["other_errors"] += 1
            self.missed("other_errors", repr(error))
            return
        took = time.time() - due
        self.latencies.append(took)
        if took < PERIOD:
            self.counts["sampled"] += 1
        else:
            self.missed("late", f"{took:.1f} s after it was due")

    def missed(self, kind, why):
        self.counts["missed"] += 1
        if self.counts["missed"] <= 3:
            print(f"{kind}: {why}", file=sys.stderr, flush=True)


def main():
    mine = [agent for agent in range(AGENTS) if agent % PARTS == PART]
    pollers = [Poller(mine[number::THREADS]) for number in range(THREADS)]
    print("ready", flush=True)
    began = float(sys.stdin.readline())
    threads = [threading.Thread(target=poller.run, args=(began,)) for poller in pollers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = sum((poller.counts for poller in pollers), collections.Counter())
    latencies = sorted(latency for poller in pollers for latency in poller.latencies)
    at = lambda share: round(latencies[int((len(latencies) - 1) * share)] * 1000, 1) if latencies else None
    print(json.dumps({"counts": counts, "latency_ms": {"p50": at(0.5), "p99": at(0.99), "most": at(1)},
                      "cpu_s": round(sum(os.times()[:2]), 1)}))


if __name__ == "__main__":
    main()
