"""What only the SQL store does: migrations, several processes, the mirror file, a database that is in trouble."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event, inspect, text
from tests.adapters.store.conftest import FakeClock
from tests.faults.forks import forks

from gauntlet.adapters import store_sql
from gauntlet.adapters.store_mirror import read_mirror
from gauntlet.adapters.store_sql import Database, open_store
from gauntlet.adapters.store_tables import REVISION, tables
from gauntlet.core.audit import Fault, compare, entry_digest, verify
from gauntlet.core.errors import Conflict, InfrastructureError, IntegrityError, SpecError
from gauntlet.core.ledger import no_routing
from gauntlet.core.records.run import RunContext, TriggerKind

INCLUDE = str(Path(store_sql.__file__).parents[2])


def run_context(clock, name="run-1"):
    return RunContext(
        model="m",
        run=name,
        as_of=clock.now(),
        kind=TriggerKind.MANUAL,
        reason="because",
        requested_by="ann",
        force_retrain=False,
        spec_digest="s",
        opened_at=clock.now(),
    )


# ---- schema ----------------------------------------------------------------------------------------


def test_the_migrations_make_exactly_the_tables(sql_store):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with sql_store.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables) == []
        indexes = {
            index["name"]
            for table in tables.sorted_tables
            for index in inspect(connection).get_indexes(table.name)
            if index["name"] and not index.get("duplicates_constraint")
        }
    assert indexes == {index.name for table in tables.sorted_tables for index in table.indexes}


def test_the_newest_migration_is_the_one_the_code_expects():
    from alembic.script import ScriptDirectory

    from gauntlet.adapters.store_migrate import SCRIPTS

    assert ScriptDirectory(str(SCRIPTS)).get_heads() == [REVISION]


def test_a_database_of_a_newer_version_is_refused(sql_store, database_url, clock):
    with sql_store.database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InfrastructureError, match="at schema '9999', which this version of Gauntlet does not know"):
        open_store(database_url, clock=clock)


def test_opening_a_current_database_imports_no_alembic(tmp_path, clock):
    url = f"sqlite:///{tmp_path}/g.db"
    open_store(url, clock=clock).close()
    code = (
        "import sys; from datetime import UTC, datetime\n"
        "from gauntlet.adapters.store_sql import open_store\n"
        "class C:\n    def now(self): return datetime.now(UTC)\n"
        f"open_store({url!r}, clock=C())\n"
        "heavy = {'alembic', 'pandas', 'numpy', 'mlflow', 'pyarrow', 'psycopg', 'airflow'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": INCLUDE}, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()


def open_and_write(url, name):
    store = open_store(url, clock=FakeClock())
    for number in range(5):
        store.audit.append(name, "start", "m", f"{number}", {})
    store.close()


def test_many_processes_may_start_on_an_empty_database(database_url, clock):
    children = [forks().Process(target=open_and_write, args=(database_url, f"p{n}")) for n in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0] * len(children)
    store = open_store(database_url, clock=clock)
    assert len(store.audit.entries()) == 20
    assert verify(store.audit.entries()) == ()
    store.close()


# ---- several writers -------------------------------------------------------------------------------


def test_of_many_swaps_at_once_one_wins_each_epoch(sql_store, served):
    row = no_routing("m").model_copy(update={"stable": served(1)})
    sql_store.routing.swap(row, expected_epoch=0, actor="a", action="adopt", reason="r")

    def swap(number):
        for _ in range(10):
            now = sql_store.routing.read("m")
            try:
                sql_store.routing.swap(now, expected_epoch=now.epoch, actor=f"w{number}", action="renew", reason="r")
            except Conflict:
                continue
            return 1
        return 0

    with ThreadPoolExecutor(4) as pool:
        won = sum(pool.map(swap, range(8)))
    rows = sql_store.ledger.routings("m")
    assert won > 0
    assert [change.routing.epoch for change in rows] == list(range(1, won + 2))
    assert verify(sql_store.audit.entries()) == ()


def test_a_fork_has_connections_of_its_own(sql_store, clock):
    sql_store.audit.append("parent", "before", "m", "s", {})
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            sql_store.audit.append("child", "fork", "m", "s", {})
            os.write(writer, b"ok")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 2) == b"ok"
    sql_store.audit.append("parent", "after", "m", "s", {})
    assert [entry.actor for entry in sql_store.audit.entries()] == ["parent", "child", "parent"]


# ---- trouble ---------------------------------------------------------------------------------------


def test_a_lock_that_is_held_is_waited_for(tmp_path, clock):
    store = open_store(f"sqlite:///{tmp_path}/g.db", clock=clock)
    other = sqlite3.connect(tmp_path / "g.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    began = time.monotonic()
    store.audit.append("a", "b", "m", "s", {})
    assert time.monotonic() - began > 0.2
    timer.join()
    other.close()
    store.close()


def test_a_lock_that_is_never_given_is_worth_another_try(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(store_sql, "WAIT_S", 0.2)
    store = open_store(f"sqlite:///{tmp_path}/g.db", clock=clock)
    other = sqlite3.connect(tmp_path / "g.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store.audit.entries() == []  # readers do not wait
    with pytest.raises(InfrastructureError, match="database is locked"):
        store.audit.append("a", "b", "m", "s", {})
    other.close()
    store.audit.append("a", "b", "m", "s", {})
    store.close()


def test_a_full_disk_loses_nothing_that_was_written(tmp_path, clock):
    store = open_store(f"sqlite:///{tmp_path}/g.db", clock=clock)
    store.records.put("m/run-1", run_context(clock))
    pages = ["PRAGMA max_page_count = 40"]  # SQLite answers as on a full disk when a file may grow no further

    @event.listens_for(store.database.engine, "begin")
    def limit(connection):
        connection.exec_driver_sql(pages[0])

    with pytest.raises(InfrastructureError, match="database or disk is full"):
        fill(store, clock)
    written = store.audit.entries()
    pages[0] = "PRAGMA max_page_count = 1000000"
    store.records.put("m/run-x", run_context(clock, "run-x"))
    assert store.records.get("m/run-1", RunContext) == run_context(clock)
    assert store.audit.entries()[:-1] == written
    assert len(store.records.newest("m", RunContext, limit=1000)) == len(written) + 1
    assert verify(store.audit.entries()) == ()
    store.close()


def fill(store, clock):
    for number in range(200):
        store.records.put(f"m/night-{number}", run_context(clock, "x" * 2000))


def test_a_server_that_is_not_there_is_said_soon(clock):
    began = time.monotonic()
    with pytest.raises(InfrastructureError, match=r"control database postgresql\+psycopg://u:\*\*\*@127.0.0.1:1/g"):
        open_store("postgresql://u:secret@127.0.0.1:1/g", clock=clock)
    assert time.monotonic() - began < 10


def test_a_lost_connection_is_replaced(postgresql_url, clock):
    import psycopg

    store = open_store(postgresql_url, clock=clock)
    store.audit.append("a", "one", "m", "s", {})
    with psycopg.connect(postgresql_url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )
    store.audit.append("a", "two", "m", "s", {})
    assert len(store.audit.entries()) == 2
    store.close()


def test_a_connection_lost_in_a_transaction_leaves_nothing(postgresql_url, clock):
    import psycopg

    store = open_store(postgresql_url, clock=clock)
    killed = []

    @event.listens_for(store.database.engine, "commit")
    def lose(connection):
        if connection.get_execution_options().get(store_sql.WRITES) and not killed:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            with psycopg.connect(postgresql_url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [pid])
            killed.append(pid)
            time.sleep(0.1)

    with pytest.raises(InfrastructureError):
        store.audit.append("a", "one", "m", "s", {})
    assert store.audit.entries() == []
    store.audit.append("a", "one", "m", "s", {})
    assert len(store.audit.entries()) == 1
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [("mysql://u@h/d", "mysql is not supported"), ("sqlite://", "SQLite needs a file"), ("sqlite:///:memory:", "file")],
)
def test_other_databases_are_refused(url, message):
    with pytest.raises(SpecError, match=message):
        Database(url)


def test_a_file_that_is_no_database_is_named(tmp_path, clock):
    (tmp_path / "g.db").write_text("this is no database, " * 100)
    with pytest.raises(InfrastructureError, match=r"g\.db: file is not a database"):
        open_store(f"sqlite:///{tmp_path}/g.db", clock=clock)


# ---- tampering -------------------------------------------------------------------------------------


def filled(store, count=6):
    for number in range(count):
        store.audit.append("ann", "promote", "m", f"s{number}", {"n": number})


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit SET actor = 'mallory' WHERE sequence = 3", "entry 3 was changed"),
        ("DELETE FROM audit WHERE sequence = 4", "entry 4 was removed"),
        (
            "UPDATE audit SET sequence = CASE sequence WHEN 2 THEN 102 ELSE 105 END WHERE sequence IN (2, 5)",
            "entry 2 was",
        ),
    ],
)
def test_tampering_with_the_database_is_found(sql_store, statement, found):
    filled(sql_store)
    with sql_store.database.engine.begin() as connection:
        connection.execute(text(statement))
    assert found in " ".join(finding.sentence for finding in verify(sql_store.audit.entries()))


def test_a_chain_rewritten_as_a_whole_is_found_by_its_copy(sql_store):
    filled(sql_store)
    entries = sql_store.audit.entries()
    forged = [replace(entry, actor="mallory") if entry.sequence == 3 else entry for entry in entries[:-1]]
    for index in range(2, len(forged)):
        before = forged[index - 1].digest
        bare = replace(forged[index], previous=before)
        forged[index] = replace(bare, digest=entry_digest(bare))
    with sql_store.database.engine.begin() as connection:
        connection.execute(text("DELETE FROM audit WHERE sequence = 6"))
        for entry in forged[2:]:
            connection.execute(
                text("UPDATE audit SET actor = :actor, previous = :previous, digest = :digest WHERE sequence = :n"),
                {"actor": entry.actor, "previous": entry.previous, "digest": entry.digest, "n": entry.sequence},
            )
    assert verify(sql_store.audit.entries()) == ()
    told = compare(sql_store.audit.entries(), sql_store.audit.mirrored())
    assert [(finding.sequence, finding.fault) for finding in told] == [
        (3, Fault.CHANGED),
        (4, Fault.CHANGED),
        (5, Fault.CHANGED),
        (6, Fault.REMOVED),
    ]


def test_a_mirror_line_that_is_no_entry_is_said(sql_store, tmp_path):
    filled(sql_store)
    path = tmp_path / "model_deployments.jsonl"
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(IntegrityError, match="model_deployments"):
        sql_store.audit.mirrored()


# ---- the mirror file -------------------------------------------------------------------------------


def test_the_mirror_is_the_log(sql_store, tmp_path):
    filled(sql_store)
    sql_store.audit.append("ann", "note", "m", "s", {"text": "one\u2028two\nthree\r\x85 ü"})
    assert read_mirror(tmp_path / "model_deployments.jsonl") == sql_store.audit.entries()


@pytest.mark.parametrize("damage", ["gone", "torn", "behind", "empty"])
def test_a_mirror_that_is_behind_is_repaired(sql_store, tmp_path, damage):
    path = tmp_path / "model_deployments.jsonl"
    filled(sql_store)
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        lines = whole.splitlines(keepends=True)
        path.write_bytes({"torn": whole[:-20], "behind": b"".join(lines[:2]), "empty": b""}[damage])
    sql_store.audit.append("ann", "next", "m", "s", {})
    assert read_mirror(path) == sql_store.audit.entries()


def test_a_mirror_line_longer_than_the_tail_is_read(sql_store, tmp_path):
    filled(sql_store, 2)
    sql_store.audit.append("ann", "long", "m", "s", {"text": "x" * 200_000})
    sql_store.audit.append("ann", "next", "m", "s", {})
    assert read_mirror(tmp_path / "model_deployments.jsonl") == sql_store.audit.entries()


def test_a_mirror_that_cannot_be_written_loses_no_entry(tmp_path, clock, caplog, monkeypatch):
    # Airflow's own logging set-up, where another test has caused it, quietens loggers that it does not know.
    monkeypatch.setattr(logging.getLogger(store_sql.__name__), "disabled", False)
    caplog.set_level(logging.WARNING, logger=store_sql.__name__)
    store = open_store(f"sqlite:///{tmp_path}/g.db", clock=clock, mirror=tmp_path)  # a folder: cannot be opened
    filled(store)
    assert len(store.audit.entries()) == 6
    assert "is behind" in caplog.text
    store.close()
