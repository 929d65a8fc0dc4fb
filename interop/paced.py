"""Requests at a fixed pace over kept connections, each measured from when it was due.

A pace that waits for answers hides the very delays that it is to find, so nothing here waits: a
request that is due while all connections are busy opens one more.
"""

import asyncio
import time
from dataclasses import dataclass, field

ANSWERED_WITHIN = 30  # seconds


@dataclass
class Answer:
    """What came of a request; times in seconds of `time.time()`."""

    due: float
    done: float
    # 0 if the connection broke.
    status: int
    headers: dict = field(default_factory=dict)

    @property
    def latency(self):
        return self.done - self.due


@dataclass
class Target:
    """One request, ready to be sent any number of times."""

    host: str
    port: int
    head: bytes

    @classmethod
    def of(cls, address, path, headers=(), body=None):
        host, port = address.rsplit(":", 1)
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", f"Host: {address}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return cls(host, int(port), ("\r\n".join(lines) + "\r\n\r\n" + (body or "")).encode())


async def _exchange(reader, writer, head):
    writer.write(head)
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = text.split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "chunked" in headers.get("transfer-encoding", ""):
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(headers.get("content-length", 0)))
    return int(first.split()[1]), headers


async def _send(target, idle, due, answers):
    reader = writer = None
    try:
        async with asyncio.timeout(ANSWERED_WITHIN):
            # Whoever kept it for long may have closed it meanwhile.
            while idle and reader is None:
                reader, writer = idle.pop()
                if reader.at_eof() or writer.is_closing():
                    writer.close()
                    reader = writer = None
            if reader is None:
                reader, writer = await asyncio.open_connection(target.host, target.port)
            status, headers = await _exchange(reader, writer, target.head)
        answers.append(Answer(due, time.time(), status, headers))
        idle.append((reader, writer))
    except (OSError, EOFError, ValueError, TimeoutError):
        answers.append(Answer(due, time.time(), 0))
        if writer:
            writer.close()


async def paced(targets, rate, until, answers):
    """Sends `rate` requests a second to the targets in turn until `until()`, and waits for the last."""
    loop, under_way = asyncio.get_running_loop(), set()
    idle = [[] for _ in targets]
    began, wall, sent = loop.time(), time.time(), 0
    while not until():
        due = began + sent / rate
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        turn = sent % len(targets)
        task = asyncio.create_task(_send(targets[turn], idle[turn], wall + sent / rate, answers))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        sent += 1
    if under_way:
        await asyncio.wait(under_way)
    for _, writer in (connection for kept in idle for connection in kept):
        writer.close()


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
