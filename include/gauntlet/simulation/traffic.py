"""Live applications for the model server: ``python -m gauntlet.simulation.traffic --rate 100``.

An own process with a bounded rate. It follows the world of the demo (its ``world.json``), goes on
through restarts of the server, and speaks to loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gauntlet.simulation.events import NIGHT_ONE, Scenario, story
from gauntlet.simulation.wire import FAILURES, Wire
from gauntlet.simulation.world import STATE, live_rows

PAGE = 2_000
"""Distinct applications drawn at a time."""
IN_FLIGHT = 8
TIMEOUT_S = 5.0
PAUSE_S = 0.2
"""Wait of one sender after the server could not be reached."""
LATENCIES = 10_000
"""The newest latencies kept for the summary."""


@dataclass
class Tally:
    """What came back: requests by status (0: not reached) and by the arm that answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    arms: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def add(self, status: int, milliseconds: float, arm: str | None) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        if arm:
            self.arms[arm] += 1
        if status:
            self.latencies_ms.append(milliseconds)
            del self.latencies_ms[:-LATENCIES]

    def summary(self) -> dict[str, Any]:
        """Counts, the rate over the whole time, and latency quantiles of the newest answers."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        newest = sorted(self.latencies_ms)
        return {
            "requests": sum(self.statuses.values()),
            "per_second": round(sum(self.statuses.values()) / seconds, 1),
            "statuses": {str(status or "unreached"): count for status, count in sorted(self.statuses.items())},
            "arms": dict(sorted(self.arms.items())),
            **{f"p{q}_ms": round(newest[len(newest) * q // 100], 2) for q in (50, 99) if newest},
        }


def refuse_remote(url: str) -> str:
    """``url`` if its host is loopback; ValueError otherwise: this traffic is made up."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return url.rstrip("/")
    raise ValueError(f"{url}: simulated applications go to loopback only, as in http://127.0.0.1:8300")


def applications(scenario: Scenario, folder: Path) -> Iterator[bytes]:
    """Request bodies without end, from the regime the world in ``folder`` is in; drawn anew when it advances."""
    page, now = 0, _now(folder)
    while True:
        for row in live_rows(scenario, now, PAGE, page):
            yield json.dumps({"row": row}).encode()
            if (moved := _now(folder)) != now:
                now = moved
                break
        page += 1


_SEEN: dict[Path, tuple[int, datetime]] = {}


def _now(folder: Path) -> datetime:
    """The world's time; the file is read only when it has changed."""
    path = folder / STATE
    changed = path.stat().st_mtime_ns
    if path not in _SEEN or _SEEN[path][0] != changed:
        _SEEN[path] = (changed, datetime.fromisoformat(json.loads(path.read_text())["now"]))
    return _SEEN[path][1]


async def send(url: str, bodies: Iterator[bytes], rate: float, tally: Tally, stop: asyncio.Event) -> None:
    """Send at most ``rate`` requests per second until ``stop``. A late request is not made up for."""
    clock = asyncio.get_running_loop()
    slot = clock.time()
    parts = urlsplit(url)
    wires = [Wire(parts.hostname or "", parts.port or 80, parts.path, TIMEOUT_S) for _ in range(IN_FLIGHT)]

    async def sender(wire: Wire) -> None:
        nonlocal slot
        while not stop.is_set():
            slot = max(slot + 1.0 / rate, clock.time() - 1.0 / rate)
            await asyncio.sleep(max(0.0, slot - clock.time()))
            await _send_one(wire, next(bodies), tally, stop)

    try:
        await asyncio.gather(*[sender(wire) for wire in wires])
    finally:
        await asyncio.gather(*[wire.close() for wire in wires])


async def _send_one(wire: Wire, body: bytes, tally: Tally, stop: asyncio.Event) -> None:
    began = time.perf_counter()
    try:
        status, content = await wire.post(body)
    except FAILURES:
        tally.add(0, 0.0, None)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PAUSE_S)
        return
    tally.add(status, (time.perf_counter() - began) * 1e3, _arm(content))


def _arm(content: bytes) -> str | None:
    with contextlib.suppress(ValueError):
        answer = json.loads(content)
        return str(answer["arm"]) if isinstance(answer, dict) and "arm" in answer else None
    return None


async def run(arguments: argparse.Namespace) -> Tally:
    """Send until the time is over or a signal comes; a line of counts every ``--report`` seconds."""
    stop, tally = asyncio.Event(), Tally()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if arguments.seconds:
        loop.call_later(arguments.seconds, stop.set)
    scenario = story(datetime.fromisoformat(arguments.night_one), arguments.per_day)
    url = f"{refuse_remote(arguments.url)}/v1/models/{arguments.model}/predict"
    sending = asyncio.create_task(
        send(url, applications(scenario, arguments.world), arguments.rate, tally, stop), name="traffic"
    )
    stopping = asyncio.create_task(stop.wait(), name="stop")
    while not stop.is_set() and not sending.done():
        await asyncio.wait({sending, stopping}, timeout=arguments.report, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            _print(tally)
    stop.set()
    await sending
    return tally


def _print(tally: Tally) -> None:
    sys.stdout.write(json.dumps(tally.summary()) + "\n")
    sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(prog="gauntlet.simulation.traffic", description=__doc__)
    options.add_argument("--url", default="http://127.0.0.1:8300", help="the model server, on loopback")
    options.add_argument("--model", default="credit_default")
    options.add_argument("--rate", type=float, default=100.0, help="requests per second, at most")
    options.add_argument("--seconds", type=float, default=0.0, help="how long; 0: until stopped")
    options.add_argument("--report", type=float, default=10.0, help="seconds between two lines of counts")
    options.add_argument("--world", type=Path, required=True, help="folder of the simulated warehouse")
    options.add_argument("--night-one", default=NIGHT_ONE.isoformat(), help="as-of time of the story's first night")
    options.add_argument("--per-day", type=float, default=1_700.0, help="applications per day of that world")
    return options


def main(words: list[str] | None = None) -> int:
    """Run, print the summary, and say by the exit code whether every request was answered with 200."""
    arguments = parser().parse_args(words)
    if not 0 < arguments.rate <= 2_000:
        parser().error(f"--rate: between 0 and 2000 requests per second (got {arguments.rate:g})")
    try:
        tally = asyncio.run(run(arguments))
    except (ValueError, OSError) as error:
        parser().error(str(error))
    _print(tally)
    return 0 if set(tally.statuses) == {200} else 1


if __name__ == "__main__":
    sys.exit(main())
