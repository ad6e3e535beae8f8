"""Registration, promotion, rollback: interrupted at every point, then run again; always the same end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
from pathlib import Path
from tempfile import mkdtemp

import pytest
from sqlalchemy.exc import OperationalError
from tests.faults.child import WORLDS, act, database, enumerate_points, prepare
from tests.faults.forks import forks
from tests.faults.points import Killed, Tripwire, fail, is_write, kill, wire_statements, wired
from tests.faults.steps import STEPS, Step, again, outcome, safe_now, settled
from tests.faults.world import MODEL, World

from gauntlet.core.errors import Conflict, InfrastructureError
from gauntlet.core.ledger import Change
from gauntlet.core.records.ledger import CandidateState, Transition
from gauntlet.core.records.rollout import RolloutState

FAULTS = {"process killed": kill, "answer lost": fail}


def interrupted(world, step, tripwire):
    """Run a step until the tripwire ends it."""
    try:
        step.act(world, wired(world.services, tripwire))
    except (Killed, InfrastructureError):
        return True
    return False


def cell(world, step, expected):
    """What is wrong after an interruption, and after running the step again."""
    wrong = safe_now(world)
    refusal = again(world, step)
    if refusal:
        wrong.append(f"refused when run again: {refusal}")
    wrong += settled(world)
    found = outcome(world)
    wrong += [f"{name} is {found[name]}, not {expected[name]}" for name in expected if found[name] != expected[name]]
    return wrong


@pytest.fixture
def expected(fast):
    """The end of a step without any fault, and the points on the way."""

    def run(step):
        world = World(fast / "undisturbed")
        step.prepare(world)
        tripwire = Tripwire()
        step.act(world, wired(world.services, tripwire))
        labels = list(tripwire.labels)
        assert settled(world) == []
        return outcome(world), labels

    return run


def record(record_property, step, fault, points, broken):
    record_property("cells", json.dumps({"step": step, "fault": fault, "points": points, "broken": broken}))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", STEPS)
def test_every_port_call(name, fault, expected, fast, record_property):
    """Before and after every call through a port, over the store in memory."""
    step = STEPS[name]
    end, labels = expected(step)
    before = World(fast / "before")
    step.prepare(before)
    memory, broken = before.frozen(), []
    # A process that dies between two reads leaves what one leaves that dies at the next write.
    points = [(index, label) for index, label in enumerate(labels) if FAULTS[fault] is fail or is_write(label)]
    for index, label in points:
        folder = copied(fast / "before", fast / str(index))
        world = World(folder, memory)
        interrupted(world, step, Tripwire(index, FAULTS[fault]))
        broken += [f"{index}.{label}: {text}" for text in cell(world, step, end)]
        shutil.rmtree(folder)
    record(record_property, name, fault, [label for _, label in points], broken)
    assert broken == []


class ConnectionLost:
    """The database's answer at one statement."""

    def __call__(self, label: str) -> None:
        raise OperationalError(label, None, sqlite3.OperationalError("injected: connection lost"))


def template(folder, step):
    """A world right before a step, to be copied: making one takes far longer."""
    world = World(folder, database(folder))
    step.prepare(world)
    world.store.close()
    return folder


def copied(source, folder):
    shutil.copytree(source, folder)
    return folder


@pytest.fixture
def fast(tmp_path):
    """A folder in memory where there is one: what is tested is order, not the disk."""
    shm = Path("/dev/shm")
    if not shm.is_dir():
        yield tmp_path
        return
    folder = Path(mkdtemp(dir=shm, prefix="gauntlet-"))
    yield folder
    shutil.rmtree(folder)


NIGHTLY = ("registration", "promotion", "canary withdrawn", "rollback with a canary in traffic", "ramp step")
"""The other steps are these with less in their way, and retention is the same few writes again and again: killed at
every call here, at every statement when soaked."""
DEAR_STEPS = [name if name in NIGHTLY else pytest.param(name, marks=pytest.mark.soak) for name in STEPS]


@pytest.mark.parametrize("name", DEAR_STEPS)
def test_every_statement_lost(name, fast, record_property):
    """The connection is lost at every SQL statement and commit of a step: rolled back, and run again."""
    step = STEPS[name]
    source = template(fast / "template", step)
    reference = World(copied(source, fast / "reference"), database(fast / "reference"))
    tripwire = Tripwire()
    wire_statements(reference.store.database.engine, tripwire)
    step.act(reference, reference.services)
    labels = list(tripwire.labels)
    assert settled(reference) == []
    end = outcome(reference)
    broken = []
    for index, label in enumerate(labels):
        if not is_write(label):
            continue
        world = World(copied(source, fast / str(index)), database(fast / str(index)))
        wire_statements(world.store.database.engine, Tripwire(index, ConnectionLost()))
        with contextlib.suppress(InfrastructureError):
            step.act(world, world.services)
        broken += [f"{index}.{label}: {text}" for text in cell(world, step, end)]
        world.store.close()
        shutil.rmtree(fast / str(index))
    record(record_property, name, "connection lost", [label for label in labels if is_write(label)], broken)
    assert broken == []


def ran(target, *arguments):
    process = forks().Process(target=target, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def killed_everywhere(fast, kind, step, choose):
    """Kill a child at each chosen point of a step, let its successor finish, and say what did not hold."""
    source = fast / "template"
    source.mkdir()
    assert ran(prepare, str(source), kind, step.name) == 0
    answer = fast / "points.txt"
    assert ran(enumerate_points, str(copied(source, fast / "reference")), kind, step.name, str(answer)) == 0
    labels = answer.read_text(encoding="utf-8").splitlines()
    reference = WORLDS[kind](fast / "reference")
    assert settled(reference) == []
    end = outcome(reference)
    chosen = choose(labels)
    broken = []
    for index in chosen:
        folder = copied(source, fast / str(index))
        code = ran(act, str(folder), kind, step.name, index)
        if code != -signal.SIGKILL:
            broken.append(f"{index}.{labels[index]}: the process ended with {code}, it was to be killed")
        world = WORLDS[kind](folder)
        broken += [f"{index}.{labels[index]}: {text}" for text in cell(world, step, end)]
        world.store.close()
        os.chdir(fast)
        shutil.rmtree(folder)
    return [labels[index] for index in chosen], broken


def every_write(labels):
    return [index for index, label in enumerate(labels) if is_write(label)]


def in_the_registry(labels):
    """Every write within a call of the registry: all others are killed at without MLflow, which is dear to start."""
    within, found = False, []
    for index, label in enumerate(labels):
        within = within or label.startswith("before registry.")
        if within and is_write(label):
            found.append(index)
        within = within and not label.startswith("after registry.")
    return found


IN_TRANSACTION = ("BEGIN IMMEDIATE", "INSERT", "UPDATE", "DELETE")


def between_transactions(labels):
    """What a killed process can leave: one death within a transaction leaves what any other does, the file before it.

    Every kind of write once where a step does the same again and again, as retention does.
    """
    outside = [index for index in every_write(labels) if not labels[index].partition(" ")[2].startswith(IN_TRANSACTION)]
    within = [index for index in every_write(labels) if labels[index].startswith("after INSERT")][-1:]
    return sorted({*outside, *within}) if len(outside) < MANY else one_of_each(labels)


MANY = 60


def one_of_each(labels):
    """The last write of every kind."""
    return sorted({labels[index]: index for index in every_write(labels)}.values())


@pytest.mark.parametrize("name", [*NIGHTLY, "retention"])
def test_a_killed_process_leaves_what_its_successor_finishes(name, fast, record_property, monkeypatch):
    """SIGKILL of a real process before and after every commit, file write, fsync, registry and server call."""
    monkeypatch.chdir(fast)
    labels, broken = killed_everywhere(fast, "small_world", STEPS[name], between_transactions)
    record(record_property, name, "SIGKILL", labels, broken)
    assert broken == []


@pytest.mark.soak
@pytest.mark.parametrize("name", STEPS)
def test_killed_at_every_statement_too(name, fast, record_property, monkeypatch):
    """SIGKILL of a real process before and after every single write, those within a transaction included."""
    monkeypatch.chdir(fast)
    labels, broken = killed_everywhere(fast, "small_world", STEPS[name], every_write)
    record(record_property, name, "SIGKILL, every statement", labels, broken)
    assert broken == []


@pytest.mark.soak
@pytest.mark.filterwarnings("default")  # MLflow's own, of its own libraries
@pytest.mark.parametrize("name", ["registration", "promotion"])
def test_killed_inside_mlflow(name, fast, record_property, monkeypatch):
    """SIGKILL inside MLflow's own statements and file writes: no server stands between, so these are points too."""
    monkeypatch.chdir(fast)
    labels, broken = killed_everywhere(fast, "mlflow_world", STEPS[name], in_the_registry)
    record(record_property, name, "SIGKILL, MLflow", labels, broken)
    assert broken == []


def test_the_matrix_sees_a_careless_promotion(tmp_path):
    """A promotion without intent, alias first: the matrix must find cells that do not hold."""

    def careless(world, services):
        run = world.run("canary-c")
        candidate = services.records.get(run.key, RolloutState).candidate
        services.registry.set_alias(MODEL, "champion", candidate.version)
        routing = services.routing.read(MODEL)
        services.ledger.commit(
            Change(
                model=MODEL,
                actor="hasty",
                action="promotion.routing",
                reason="now",
                routing=routing.model_copy(update={"stable": candidate, "previous": routing.stable, "canary": None}),
                routing_epoch=routing.epoch,
                champion_epoch=services.ledger.champion(MODEL).epoch,
                transitions=(
                    Transition(
                        model=MODEL,
                        candidate=candidate.release_digest,
                        version=candidate,
                        before=CandidateState.CANARY,
                        after=CandidateState.PROMOTING,
                        reason="now",
                        actor="hasty",
                    ),
                    Transition(
                        model=MODEL,
                        candidate=candidate.release_digest,
                        version=candidate,
                        before=CandidateState.PROMOTING,
                        after=CandidateState.CHAMPION,
                        reason="now",
                        actor="hasty",
                    ),
                ),
            )
        )
        services.server.apply(services.routing.read(MODEL), 1)
        services.registry.delete_alias(MODEL, "challenger")

    step = Step("careless", STEPS["promotion"].prepare, careless)
    world = World(tmp_path / "reference")
    step.prepare(world)
    tripwire = Tripwire()
    careless(world, wired(world.services, tripwire))
    end = outcome(world)
    broken = []
    for index in range(len(tripwire.labels)):
        world = World(tmp_path / str(index))
        step.prepare(world)
        interrupted(world, step, Tripwire(index, kill))
        try:
            broken += cell(world, step, end)
        except Conflict as error:
            broken.append(str(error))
    assert broken
