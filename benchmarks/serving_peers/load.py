"""A small HTTP load generator for loopback, run in a process of its own so that its CPU is not the server's.

``python load.py PLAN``: PLAN is JSON with host, port, path, headers, bodies, connections, seconds
and rate (requests per second over all connections, 0: as fast as answers come). Prints one JSON object:
answers, failures, latency quantiles in milliseconds. With a rate, latency counts from when a request was
*due*, so that a server that stalls is charged for the requests it kept waiting.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import uvloop

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"


@dataclass
class Results:
    """What came back."""

    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    statuses: dict[str, int] = field(default_factory=dict)


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    def __init__(self, requests: Any, results: Results, interval: float, deadline: float, first: float) -> None:
        self.requests, self.results = requests, results
        self.interval, self.deadline, self.due = interval, deadline, first
        self.buffer = b""
        self.needed = -1
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Ask at once, or when the first request is due."""
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.schedule()

    def schedule(self) -> None:
        """Ask again now or when due, or end."""
        now = time.perf_counter()
        if now >= self.deadline:
            self.finish()
        elif self.interval and self.due > now:
            self.loop.call_later(self.due - now, self.send)
        else:
            self.send()

    def send(self) -> None:
        """Send the next request."""
        self.began = self.due if self.interval else time.perf_counter()
        self.due += self.interval
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        """Collect an answer by its content-length."""
        self.buffer = self.buffer + data if self.buffer else data
        if self.needed < 0:
            end = self.buffer.find(HEAD_END)
            if end < 0:
                return
            head = self.buffer[:end].lower()
            at = head.find(LENGTH)
            if at < 0:
                self.results.failures += 1
                self.finish()
                return
            self.needed = end + 4 + int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0])
        if len(self.buffer) >= self.needed:
            self.answered()

    def answered(self) -> None:
        """Take down a whole answer."""
        self.results.latencies.append((time.perf_counter() - self.began) * 1e3)
        status = self.buffer[9:12].decode()
        self.results.statuses[status] = self.results.statuses.get(status, 0) + 1
        self.buffer, self.needed = b"", -1
        self.schedule()

    def connection_lost(self, _: Exception | None) -> None:
        """A server that hangs up is a failure."""
        if not self.done.done():
            self.results.failures += 1
            self.done.set_result(None)

    def finish(self) -> None:
        """This connection has done its part."""
        if not self.done.done():
            self.done.set_result(None)
        self.transport.close()


def rendered(plan: dict[str, Any]) -> list[bytes]:
    """The requests' bytes."""
    head = f"POST {plan['path']} HTTP/1.1\r\nhost: {plan['host']}:{plan['port']}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in plan["headers"].items())
    bodies = [body.encode() for body in plan["bodies"]]
    return [head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body for body in bodies]


async def load(plan: dict[str, Any]) -> Results:
    """Run the plan."""
    results = Results()
    requests = rendered(plan)
    count = plan["connections"]
    interval = count / plan["rate"] if plan["rate"] else 0.0
    start = time.perf_counter() + 0.05
    loop = asyncio.get_running_loop()
    connections = []
    for number in range(count):
        offset = len(requests) * number // count
        mine = cycle(requests[offset:] + requests[:offset])
        first = start + (interval * number / count if interval else 0.0)
        made = Connection(mine, results, interval, start + plan["seconds"], first)
        await loop.create_connection(partial(_itself, made), plan["host"], plan["port"])
        connections.append(made)
    await asyncio.wait([one.done for one in connections], timeout=plan["seconds"] + 10)
    return results


def _itself(connection: Connection) -> Connection:
    return connection


def quantiles(values: list[float]) -> dict[str, float]:
    """Of latencies, in milliseconds."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        **{f"p{q}": ordered[min(len(ordered) * q // 100, len(ordered) - 1)] for q in (50, 95, 99)},
        "max": ordered[-1],
    }


def main() -> None:
    """Run the plan and print what came back."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    results = uvloop.run(load(plan))
    answers = len(results.latencies)
    summary = {
        "answers": answers,
        "per_second": answers / plan["seconds"],
        "failures": results.failures,
        "statuses": results.statuses,
        **quantiles(results.latencies),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
