"""The faults everybody asks about, each by its name; every test says in its cell what held."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from tests.faults.points import Killed, Tripwire, fail, wired
from tests.faults.steps import STEPS, again, outcome, safe_now, settled
from tests.faults.test_matrix import cell, copied, record
from tests.faults.world import MODEL, START, World

from gauntlet.adapters import store_sql
from gauntlet.adapters.registry_mlflow import MLflowRegistry
from gauntlet.core.errors import (
    Conflict,
    InfrastructureError,
    IntegrityError,
    PromotionRefused,
    RolloutAborted,
)
from gauntlet.core.records.ledger import CandidateState, RollbackReport
from gauntlet.core.records.run import RunContext
from gauntlet.stages.close_rollout import close_rollout
from gauntlet.stages.history import history
from gauntlet.stages.promote import promote
from gauntlet.stages.reconcile import reconcile
from gauntlet.stages.register import register_challenger
from gauntlet.stages.rollback import rollback

WRITING = ("registration", "promotion", "ramp step", "rollback", "retention")


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A world over SQLite right before a step, made once."""
    made: dict[str, Path] = {}

    def before(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("before")
            world = World(made[name], f"sqlite:///{made[name]}/gauntlet.db")
            STEPS[name].prepare(world)
            world.store.close()
        return made[name]

    return before


@pytest.fixture
def at(templates: Callable[[str], Path], tmp_path: Path) -> Any:
    """A world over SQLite right before a step, and what the step ends in when nothing happens."""
    opened: list[World] = []

    def make(name: str) -> tuple[World, dict[str, Any]]:
        worlds = []
        for copy in ("undisturbed", "disturbed"):
            folder = copied(templates(name), tmp_path / name / copy)
            worlds.append(World(folder, f"sqlite:///{folder}/gauntlet.db"))
        opened.extend(worlds)
        STEPS[name].act(worlds[0], worlds[0].services)
        assert settled(worlds[0]) == []
        return worlds[1], outcome(worlds[0])

    yield make
    for world in opened:
        world.store.close()


def held(record_property: Any, step: str, fault: str, broken: list[str]) -> None:
    """One cell of the matrix."""
    record(record_property, step, fault, [fault], broken)
    assert broken == []


# ---- the database ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITING)
def test_database_locked(name: str, at: Any, record_property: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the write lock for longer than a write waits."""
    world, end = at(name)
    world.store.close()
    monkeypatch.setattr(store_sql, "WAIT_S", 0.2)
    impatient = World(world.folder, f"sqlite:///{world.folder}/gauntlet.db")
    with sqlite3.connect(world.folder / "gauntlet.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InfrastructureError, match="database is locked"):
            STEPS[name].act(impatient, impatient.services)
        other.execute("ROLLBACK")
    other.close()
    broken = cell(impatient, STEPS[name], end)
    impatient.store.close()
    held(record_property, name, "database locked", broken)


@pytest.mark.parametrize("name", WRITING)
def test_disk_full_for_the_database(name: str, at: Any, record_property: Any) -> None:
    """SQLite may not grow by a single page: the transaction ends as if it had never begun."""
    world, end = at(name)
    engine = world.store.database.engine

    @event.listens_for(engine, "connect")
    def small(connection: Any, _: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    engine.dispose()
    for number in range(200):
        try:
            world.services.audit.append("filler", "filler", MODEL, f"{number}", {"text": "x" * 3000})
        except InfrastructureError:
            break
    with pytest.raises(InfrastructureError, match="database or disk is full"):
        STEPS[name].act(world, world.services)
    event.remove(engine, "connect", small)
    engine.dispose()
    held(record_property, name, "disk full (database)", cell(world, STEPS[name], end))


@pytest.mark.parametrize("name", WRITING)
def test_disk_full_for_the_mirror_stops_nothing(
    name: str, at: Any, record_property: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed is committed; the file catches up when there is room again."""
    world, end = at(name)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(world.store.database.mirror, "catch_up", full)
    STEPS[name].act(world, world.services)
    monkeypatch.undo()
    held(record_property, name, "disk full (mirror)", cell(world, STEPS[name], end))


def test_disk_full_for_a_release_leaves_no_release(
    tmp_path: Path, record_property: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that did not fit is not there in part, the manifest is not there at all, and the next try finishes."""
    world = World(tmp_path)
    real = shutil.copyfile

    def full(source: Any, target: Any, **more: Any) -> Any:
        if Path(source).name == "model.txt":
            Path(target).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target, **more)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InfrastructureError, match="No space left"):
        world.release("a")
    folder = tmp_path / "releases" / "a"
    broken = [path.name for path in folder.iterdir() if path.name in ("model.txt", "manifest.json")]
    broken += [path.name for path in folder.iterdir() if path.name.startswith(".")]
    monkeypatch.undo()
    release = world.release("a")
    world.blobs.fetch_folder(release.uri, release.digest)
    held(record_property, "release", "disk full", broken)


# ---- bytes -----------------------------------------------------------------------------------------

Damage = Callable[[Path], None]


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip], ids=["truncated artifact", "flipped byte"])
@pytest.mark.parametrize("file", ["model.txt", "sidecar.json", "golden.json", "manifest.json"])
def test_a_damaged_release_goes_nowhere(damage: Damage, file: str, at: Any, record_property: Any) -> None:
    """Not registered, not promoted; a rollback passes over it. Nothing served has changed."""
    fault = {truncate: "truncated", flip: "flipped byte in"}[damage] + f" {file}"
    world, _ = at("registration")
    before = world.stable()
    damage(world.folder / "releases" / "c" / file)
    with pytest.raises(IntegrityError):
        STEPS["registration"].act(world, world.services)
    broken = [] if world.registry.document.read()["numbers"] == 2 else ["a version was made"]
    broken += settled(world)
    promoting, _ = at("promotion")
    damage(promoting.folder / "releases" / "c" / file)
    with pytest.raises(PromotionRefused, match="a server refused it"):
        STEPS["promotion"].act(promoting, promoting.services)
    broken += [] if promoting.stable() == before == "id-b" else ["the champion has changed"]
    close_rollout(promoting.services, promoting.run("canary-c"))
    broken += [text for text in settled(promoting) if "id-c" not in text]
    promoting.champion("d")
    damage(promoting.folder / "releases" / "b" / file)
    report = rollback(promoting.services, MODEL, reason="x", actor="ann")
    broken += [] if report.restored.version_id == "id-a" else [f"rolled back to {report.restored.version_id}"]
    held(record_property, "registration, promotion, rollback", fault, broken)


# ---- clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITING)
def test_clock_jumps_backwards(name: str, at: Any, record_property: Any) -> None:
    """An hour back in the middle of a step: the log's order holds, and who answered when stays told."""
    world, end = at(name)
    now, calls = world.clock.now, []

    def jumping() -> Any:
        calls.append(None)
        moment = now()
        return moment - timedelta(hours=1) if len(calls) > 2 and name != "ramp step" else moment

    world.clock.now = jumping
    STEPS[name].act(world, world.services)
    del world.clock.now
    broken = cell(world, STEPS[name], end)
    times = [entry.at for entry in world.services.audit.entries()]
    broken += [] if times == sorted(times) else ["audit times run backwards"]
    reigns = history(world.services, MODEL)
    broken += [] if all(r.until is None or r.since <= r.until for r in reigns) else ["a reign ends before it begins"]
    held(record_property, name, "clock jump backwards", broken)


# ---- two at once, and things that happen to tasks --------------------------------------------------


def test_two_promotions_at_once(at: Any, record_property: Any) -> None:
    """Both pass every check before either commits: one wins, the other is told so, there is one champion."""
    world, _ = at("promotion")
    source = world.trained("night-d", "d")
    register_challenger(world.services, source)
    first, second = world.run("canary-c"), None
    prepare = world.server.prepare
    errors: list[Exception] = []

    def meanwhile(model: str, release: Any) -> Any:
        # The first has opened its intent and is loading; here comes the second.
        world.server.prepare = prepare
        try:
            promote(world.services, second_run())
        except (Conflict, PromotionRefused) as error:
            errors.append(error)
        return prepare(model, release)

    def second_run() -> RunContext:
        run = world.run("canary-d")
        for record_of in ("PreflightReport", "RolloutState"):
            from gauntlet.core.records import rollout

            kind = getattr(rollout, record_of)
            known = world.services.records.get(first.key, kind)
            changes = {"run": run.run} if record_of == "RolloutState" else {}
            world.services.records.put(run.key, known.model_copy(update=changes))
        return run

    world.server.prepare = meanwhile
    promote(world.services, first)
    broken = [] if len(errors) == 1 else [f"{len(errors)} of one other promotion were refused"]
    broken += [] if world.stable() == "id-c" else [f"{world.stable()} is champion"]
    champions = [e for e in world.services.ledger.events(MODEL) if e.after is CandidateState.CHAMPION]
    broken += [] if len(champions) == 3 else [f"{len(champions)} coronations"]
    assert second is None
    held(record_property, "promotion", "two promotions at once", broken + settled(world))


@pytest.mark.parametrize("stage", ["before the swap", "after the swap"])
def test_promotion_during_rollback_and_rollback_during_promotion(stage: str, at: Any, record_property: Any) -> None:
    """The rollback always gets through; the promotion is given up, or what it made champion is rolled back."""
    world, _ = at("promotion")
    method = {"before the swap": "prepare", "after the swap": "apply"}[stage]
    real, reports = getattr(world.server, method), []

    def meanwhile(*arguments: Any) -> Any:
        setattr(world.server, method, real)
        reports.append(rollback(world.services, MODEL, reason="complaints", actor="ann"))
        return real(*arguments)

    setattr(world.server, method, meanwhile)
    told = again(world, STEPS["promotion"])
    broken = [] if told else ["the promotion was not told"]
    restored = {"before the swap": "id-a", "after the swap": "id-b"}[stage]
    broken += [] if world.stable() == restored == reports[0].restored.version_id else [f"{world.stable()} serves"]
    held(record_property, "promotion", f"rollback during promotion, {stage}", broken + settled(world))


def test_promotion_during_a_rollback_that_is_under_way(at: Any, record_property: Any) -> None:
    world, _ = at("promotion")
    real = world.server.apply
    world.server.apply = lambda *_: (_ for _ in ()).throw(InfrastructureError("no answer"))
    with pytest.raises(InfrastructureError):
        rollback(world.services, MODEL, reason="complaints", actor="ann")
    with pytest.raises((Conflict, PromotionRefused)):
        promote(world.services, world.run("canary-c"))
    world.server.apply = real
    reconcile(world.services, MODEL, repair=True)
    broken = [] if world.stable() == "id-a" else [f"{world.stable()} serves"]
    held(record_property, "rollback", "promotion during rollback", broken + settled(world))


@pytest.mark.parametrize("name", WRITING)
def test_cleared_task(name: str, at: Any, record_property: Any) -> None:
    """Airflow forgets that a task was done and runs it again, twice: the same record, no second effect."""
    world, end = at(name)
    first = STEPS[name].act(world, world.services)
    entries = [e for e in world.services.audit.entries() if not e.action.startswith("record.")]
    results = [STEPS[name].act(world, world.services) for _ in range(2)]
    broken = cell(world, STEPS[name], end)
    now = [e for e in world.services.audit.entries() if not e.action.startswith("record.")]
    broken += [] if now[: len(entries)] == entries and len(now) == len(entries) else ["it was done twice"]
    if name in ("registration", "promotion", "rollback"):
        broken += [] if results == [first, first] else ["another record came out"]
    held(record_property, name, "cleared task", broken)


def test_dag_run_deleted(at: Any, record_property: Any) -> None:
    """Airflow's run is gone and a new one, with another id, trains the same content: still one version of it."""
    world, _ = at("registration")
    register_challenger(world.services, world.run("night-c"))
    second = register_challenger(world.services, world.trained("manual__again", "c"))
    broken = [] if second.version == 3 else [f"version {second.version}"]
    broken += [] if world.registry.document.read()["numbers"] == 3 else ["a second version was made"]
    held(record_property, "registration", "DAG run deleted", broken + settled(world))


def test_dag_run_deleted_in_the_middle_of_a_canary(at: Any, record_property: Any) -> None:
    """Nobody ticks any more, no teardown runs: the lease takes the canary out of traffic, the next rollout goes on."""
    world, _ = at("ramp step")
    routing = world.services.routing.read(MODEL)
    after = START + timedelta(days=2)
    broken = [] if routing.lease_until is not None and routing.lease_until < after else ["the lease never ends"]
    answering = history(world.services, MODEL, after)
    broken += [] if [(r.role, r.version_id) for r in answering] == [("champion", "id-b")] else [f"{answering}"]
    world.clock.moment = after
    source = world.trained("night-d", "d")
    register_challenger(world.services, source)
    world.ramped("canary-d", source)
    promote(world.services, world.run("canary-d"))
    broken += [] if world.stable() == "id-d" else [f"{world.stable()} is champion"]
    held(record_property, "ramp step", "DAG run deleted", broken + settled(world))


def test_duplicate_asset_event(at: Any, record_property: Any) -> None:
    """Two canary runs for one challenger: the second finds it promoted, or gives way; it is champion once."""
    world, _ = at("promotion")
    promote(world.services, world.run("canary-c"))
    from gauntlet.stages.open_rollout import open_rollout

    duplicate = world.run("asset_triggered__2")
    told = None
    try:
        open_rollout(world.services, duplicate)
    except (Conflict, RolloutAborted) as error:
        told = str(error)
    broken = [] if told else ["a second rollout of the champion was opened"]
    champions = [e for e in world.services.ledger.events(MODEL) if e.after is CandidateState.CHAMPION]
    broken += [] if len(champions) == 3 else [f"{len(champions)} coronations"]
    held(record_property, "promotion", "duplicate asset event", broken + settled(world))


@pytest.mark.parametrize("name", ["promotion", "ramp step", "rollback", "rollback with a canary in traffic"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_server_restarted_mid_swap(name: str, when: str, at: Any, record_property: Any) -> None:
    """The server comes back empty while the routing is being swapped: it ends at the ledger's routing."""
    world, end = at(name)
    apply = world.server.apply

    def restarting(*arguments: Any) -> Any:
        world.server.apply = apply
        answer = apply(*arguments) if when == "after" else None
        world.server.document.write({"routing": None, "loaded": []})
        return answer if when == "after" else apply(*arguments)

    world.server.apply = restarting
    STEPS[name].act(world, world.services)
    reconcile(world.services, MODEL, repair=True)
    held(record_property, name, f"server restarted mid-swap, {when} it applied", cell(world, STEPS[name], end))


def test_process_killed_while_a_rollback_is_decided_is_one_rollback(at: Any, record_property: Any) -> None:
    """The person presses the button again after the process died: the same request is one rollback."""
    world, _ = at("rollback")
    services = wired(world.services, Tripwire(40, lambda label: (_ for _ in ()).throw(Killed(label))))
    with pytest.raises(Killed):
        rollback(services, MODEL, reason="x", actor="ann", request="r1")
    reports = [rollback(world.services, MODEL, reason="x", actor="ann", request="r1") for _ in range(2)]
    broken = [] if reports[0] == reports[1] else ["two reports"]
    stored = world.services.records.newest(MODEL, RollbackReport, limit=9)
    broken += [] if len(stored) == 1 else [f"{len(stored)} rollbacks"]
    held(record_property, "rollback", "process kill, asked again", broken + settled(world))


# ---- MLflow: down, slow, an error after the commit -------------------------------------------------


class Answer:
    """What a registry's HTTP server does to a request."""

    def __init__(self, status: int = 500, wait_s: float = 0.0) -> None:
        self.status, self.wait_s = status, wait_s


@pytest.fixture
def broken_mlflow() -> Any:
    """An HTTP server in MLflow's place that answers as told."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                time.sleep(answer.wait_s)
                body = json.dumps({"error_code": "INTERNAL_ERROR", "message": "injected"}).encode()
                self.send_response(answer.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815 - the base class names them

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def quick_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


@pytest.mark.usefixtures("quick_to_give_up")
@pytest.mark.parametrize("fault", ["MLflow down", "MLflow slow", "MLflow answers 500"])
def test_rollback_within_five_seconds_whatever_mlflow_does(
    fault: str, at: Any, broken_mlflow: Any, record_property: Any
) -> None:
    """The real client against a server that is not there, is slow, or fails; there is no Airflow in this process."""
    world, end = at("rollback")
    answers = {"MLflow slow": Answer(200, 30), "MLflow answers 500": Answer()}
    url = broken_mlflow(answers[fault]) if fault in answers else "http://127.0.0.1:9"
    services = replace(world.services, registry=MLflowRegistry(url, timeout_s=1))
    assert services.registry is not None
    MLflowRegistry(url)._client  # noqa: B018 - importing MLflow is no part of the five seconds
    started = time.perf_counter()
    report = rollback(services, MODEL, reason="x", actor="ann", request="manual__1")
    seconds = time.perf_counter() - started
    broken = [] if seconds < 5 else [f"took {seconds:.1f} s"]
    broken += [] if "left to the reconciler" in report.registry else [report.registry]
    broken += [] if {r.stable for r in world.server.reports(MODEL)} == {"id-a"} else ["the servers do not follow"]
    held(record_property, "rollback", fault, broken + cell(world, STEPS["rollback"], end))


@pytest.mark.usefixtures("quick_to_give_up")
@pytest.mark.parametrize("name", ["registration", "promotion", "retention"])
@pytest.mark.parametrize("fault", ["MLflow down", "MLflow slow", "MLflow answers 500"])
def test_every_other_step_waits_for_mlflow(
    name: str, fault: str, at: Any, broken_mlflow: Any, record_property: Any
) -> None:
    """Nothing is half done: the step fails as infrastructure and finishes once MLflow is back."""
    world, end = at(name)
    answers = {"MLflow slow": Answer(200, 30), "MLflow answers 500": Answer()}
    url = broken_mlflow(answers[fault]) if fault in answers else "http://127.0.0.1:9"
    with pytest.raises(InfrastructureError, match="MLflow at http"):
        STEPS[name].act(world, replace(world.services, registry=MLflowRegistry(url, timeout_s=1)))
    held(record_property, name, fault, cell(world, STEPS[name], end))


@pytest.mark.parametrize("name", ["first registration", "registration", "promotion", "rollback", "retention"])
def test_mlflow_answers_500_after_its_commit(name: str, tmp_path: Path, record_property: Any) -> None:
    """Every write of the registry is done and its answer lost: the next try finds what is there."""
    reference = World(tmp_path / "reference")
    STEPS[name].prepare(reference)
    tripwire = Tripwire()
    STEPS[name].act(reference, wired(reference.services, tripwire))
    assert settled(reference) == []
    end = outcome(reference)
    before = World(tmp_path / "before")
    STEPS[name].prepare(before)
    memory, broken, points = before.frozen(), [], []
    for index, label in enumerate(tripwire.labels):
        if not label.startswith("after registry."):
            continue
        points.append(label)
        world = World(copied(tmp_path / "before", tmp_path / str(index)), memory)
        with contextlib.suppress(InfrastructureError):
            STEPS[name].act(world, wired(world.services, Tripwire(index, fail)))
        broken += [f"{index}.{label}: {text}" for text in cell(world, STEPS[name], end)]
    assert points
    assert safe_now(reference) == []
    record(record_property, name, "MLflow 500 after commit", points, broken)
    assert broken == []
