"""The same interruptions over PostgreSQL: the server ends the connection in the middle of a transaction."""

from __future__ import annotations

import contextlib
import shutil
from uuid import uuid4

import pytest
from sqlalchemy import event
from tests.adapters.store import postgresql
from tests.faults.points import Tripwire, is_write, wire_statements
from tests.faults.steps import STEPS, outcome, settled
from tests.faults.test_matrix import NIGHTLY, cell, record
from tests.faults.world import World

from gauntlet.core.errors import InfrastructureError

INTERESTING = ("INSERT", "UPDATE", "COMMIT")


@pytest.fixture(scope="module")
def server():
    if reason := postgresql.why_not():
        pytest.skip(reason)
    with postgresql.server() as url:
        yield url


@pytest.fixture
def admin(server):
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        yield connection


def copied_database(admin, server, source=None):
    name = f"g{uuid4().hex}"
    admin.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {source}" if source else ""))
    return name, server.replace("/postgres?", f"/{name}?")


def lose_at(world, index, admin):
    """End the connection from the server's side at a point."""
    pids = []
    engine = world.store.database.engine

    @event.listens_for(engine, "begin")
    def remember(connection):
        pids.append(connection.connection.dbapi_connection.info.backend_pid)

    def end(_):
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pids[-1]])

    wire_statements(engine, Tripwire(index, end))


def one_of_each(labels):
    chosen = {label: index for index, label in enumerate(labels) if is_write(label)}
    return sorted(index for label, index in chosen.items() if label.partition(" ")[2].startswith(INTERESTING))


SLOW = [pytest.param(name, marks=pytest.mark.soak) for name in STEPS if name not in NIGHTLY]


@pytest.mark.parametrize("name", [*NIGHTLY, "retention", *(name for name in SLOW if name.values != ("retention",))])
def test_a_connection_ended_by_the_server(name, server, admin, tmp_path, record_property):
    step = STEPS[name]
    source, url = copied_database(admin, server)
    world = World(tmp_path / "template", url)
    step.prepare(world)
    world.store.close()

    def again(folder):
        database, url = copied_database(admin, server, source)
        shutil.copytree(tmp_path / "template", folder)
        return database, World(folder, url)

    _, reference = again(tmp_path / "reference")
    tripwire = Tripwire()
    wire_statements(reference.store.database.engine, tripwire)
    step.act(reference, reference.services)
    labels = list(tripwire.labels)
    assert settled(reference) == []
    end = outcome(reference)
    reference.store.close()
    broken, chosen = [], one_of_each(labels)
    for index in chosen:
        database, world = again(tmp_path / str(index))
        lose_at(world, index, admin)
        with contextlib.suppress(InfrastructureError):
            step.act(world, world.services)
        broken += [f"{index}.{labels[index]}: {text}" for text in cell(world, step, end)]
        world.store.close()
        admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
    record(record_property, name, "connection ended, PostgreSQL", [labels[index] for index in chosen], broken)
    assert broken == []
