from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.processes import free_port

from gauntlet.simulation import traffic
from gauntlet.simulation.events import Takeover, story
from gauntlet.simulation.feed import event
from gauntlet.simulation.world import FEATURES, World


class Echo:
    """An ASGI app that keeps what it was sent and answers as told."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.paths: list[str] = []
        self.rows: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.paths.append(scope["path"])
        self.rows.append(json.loads(body)["row"])
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"arm": "stable"}'})


@asynccontextmanager
async def serving(app: Echo, port: int) -> AsyncGenerator[None, None]:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await task


@pytest.fixture
def world(tmp_path: Path) -> Path:
    scenario = story()
    first = event(scenario, Takeover)
    assert first
    World(tmp_path, replace(scenario, begin=first.at.date())).advance(first.at - timedelta(hours=1))
    return tmp_path


def test_rows_reach_the_models_endpoint_at_a_bounded_rate(world: Path) -> None:
    app, tally, stop = Echo(), traffic.Tally(), asyncio.Event()

    async def scene() -> None:
        port = free_port()
        async with serving(app, port):
            asyncio.get_running_loop().call_later(1.0, stop.set)
            url = f"http://127.0.0.1:{port}/v1/models/credit_default/predict"
            await traffic.send(url, traffic.applications(story(), world), 80, tally, stop)

    asyncio.run(scene())
    assert 40 <= tally.statuses[200] <= 95
    assert set(tally.statuses) == {200}
    assert set(app.paths) == {"/v1/models/credit_default/predict"}
    assert set(app.rows[0]) == {"customer_id", *FEATURES}
    assert tally.summary()["arms"] == {"stable": tally.statuses[200]}


def test_the_generator_outlives_a_restart_of_the_server(world: Path) -> None:
    before, after, tally, stop = Echo(), Echo(), traffic.Tally(), asyncio.Event()

    async def scene() -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}/v1/models/credit_default/predict"
        bodies = traffic.applications(story(), world)
        sending = asyncio.create_task(traffic.send(url, bodies, 60, tally, stop))
        async with serving(before, port):
            await asyncio.sleep(0.4)
        await asyncio.sleep(0.3)
        async with serving(after, port):
            await asyncio.sleep(0.8)
            stop.set()
            await sending

    asyncio.run(scene())
    assert before.rows
    assert after.rows
    assert tally.statuses[0] > 0
    assert "unreached" in tally.summary()["statuses"]


def test_other_statuses_are_counted(world: Path) -> None:
    app, tally, stop = Echo(status=503), traffic.Tally(), asyncio.Event()

    async def scene() -> None:
        port = free_port()
        async with serving(app, port):
            asyncio.get_running_loop().call_later(0.3, stop.set)
            bodies = traffic.applications(story(), world)
            await traffic.send(f"http://127.0.0.1:{port}/x", bodies, 50, tally, stop)

    asyncio.run(scene())
    assert set(tally.statuses) == {503}


def test_the_regime_follows_the_world(world: Path) -> None:
    scenario = story()
    bodies = traffic.applications(scenario, world)
    calm = [json.loads(next(bodies))["row"]["channel"] for _ in range(500)]
    takeover = event(scenario, Takeover)
    assert takeover
    World(world, replace(scenario, begin=takeover.at.date())).advance(takeover.at + timedelta(hours=1))
    next(bodies)
    shifted = [json.loads(next(bodies))["row"]["channel"] for _ in range(500)]
    assert calm.count("broker") < 50 < 80 < shifted.count("broker")


@pytest.mark.parametrize(
    "url", ["http://example.com", "http://10.0.0.1:8300", "nonsense", "http://127.0.0.1.evil.example"]
)
def test_only_loopback_is_spoken_to(url: str) -> None:
    with pytest.raises(ValueError, match="loopback only"):
        traffic.refuse_remote(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8300/", "http://localhost:1", "http://[::1]:2"])
def test_loopback_is_accepted(url: str) -> None:
    assert traffic.refuse_remote(url) == url.rstrip("/")


def test_as_a_process_it_sums_up_and_tells_failure_by_its_exit_code(world: Path) -> None:
    words = ["--url", f"http://127.0.0.1:{free_port()}", "--rate", "20", "--seconds", "0.5", "--world", str(world)]
    command = [sys.executable, "-m", "gauntlet.simulation.traffic", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "unreached" in json.loads(done.stdout.splitlines()[-1])["statuses"]


def test_a_rate_out_of_bounds_is_refused(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        traffic.main(["--rate", "100000", "--world", str(world)])
    assert "--rate" in capsys.readouterr().err


def test_a_world_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        traffic.main(["--world", str(tmp_path / "nowhere")])
    assert "nowhere" in capsys.readouterr().err
