"""Faults of what is around the server, while users keep asking: no request fails, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.processes import wait_for
from tests.serving.control import MODEL, fetch_file
from tests.serving.servers import Trained, routing, running, served, train, write_release
from tests.serving.users import assert_all_answered, journaled, load, overflowing

from gauntlet.adapters.journal import INCOMPLETE, JournalFiles
from gauntlet.core.model_text import tree_digest
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import PPM
from gauntlet.core.specs.serving import JournalPolicy, ServingSection
from gauntlet.serving.journal import Stream

SYNC = ServingSection(journal=JournalPolicy(durability="sync"))


# ---- the whole server ------------------------------------------------------------------------------


def test_the_whole_server_killed_under_load_loses_nothing_it_has_acknowledged(
    tmp_path: Path, stable: Any, trained: Trained
) -> None:
    since = datetime.now(UTC)
    with running(tmp_path, ready=False, serving=SYNC, workers=2) as server:
        server.apply(routing(1, stable))
        with load(server, trained.rows) as seen:
            wait_for(lambda: len(seen.acknowledged) > 50, 20)
            before = list(seen.acknowledged)
            for pid in [server.process.pid, *server.workers()]:
                os.kill(pid, signal.SIGKILL)
            server.process.join()
    with running(tmp_path, serving=SYNC) as again:
        assert again.predict(trained.rows[0]).status_code == 200
        table = journaled(again, since)
    assert len(before) > 50
    assert set(seen.acknowledged) <= set(table.column("request_id").to_pylist())
    assert b"ended without closing" in table.schema.metadata[INCOMPLETE]


# ---- control database and lease --------------------------------------------------------------------


def test_a_control_database_that_goes_away_costs_no_request_and_ends_the_canary_with_its_lease(
    tmp_path: Path, stable: Any, canary: Any, trained: Trained
) -> None:
    with running(tmp_path, ready=False, workers=2) as server:
        assert server.apply(routing(1, stable, canary, PPM)).status_code == 200
        with load(server, trained.rows) as seen:
            wait_for(lambda: seen.answers, 10)
            # The last renewal before the database goes.
            server.database.write(routing(2, stable, canary, PPM, lease_s=3))
            wait_for(lambda: [one["epoch"] for one in server.reports()] == [2, 2], 10)
            # Not a file any more: reading it raises, as a database does that is gone.
            server.database.routing_file.unlink()
            server.database.routing_file.mkdir()
            wait_for(lambda: server.database.events("routing_unreadable"), 10)
            wait_for(lambda: [one["weight_ppm"] for one in server.reports()] == [0, 0], 10)
            asked = len(seen.answers)
            wait_for(lambda: len(seen.answers) > asked + 40, 10)
        assert_all_answered(seen)
        arms = [one["arm"] for one in seen.answers]
        assert arms[0] == "canary"
        assert set(arms[-20:]) == {"stable"}
        assert {event["worker"].split("-")[1] for event in server.database.events("lease_expired")} == {"0", "1"}


def test_a_blob_store_that_goes_away_while_a_challenger_is_fetched_costs_no_request(
    tmp_path: Path, stable: Any, canary: Any, trained: Trained
) -> None:
    with running(tmp_path, ready=False, fetch=fetch_file) as server:
        server.apply(routing(1, stable))
        lost = canary.model_copy(update={"release_uri": "file:///gone", "release_digest": "1" * 64})
        with load(server, trained.rows, users=2) as seen:
            assert server.apply(routing(2, stable, lost, PPM)).status_code == 503
            assert server.reports()[0]["weight_ppm"] == 0
        assert_all_answered(seen)


# ---- disk ------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, size: str) -> Generator[None]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs privileges")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return


def test_a_full_disk_costs_journal_rows_and_no_request_and_the_window_says_so(
    tmp_path: Path, stable: Any, trained: Trained
) -> None:
    with small_disk(tmp_path / "disk", "1m"):
        journal = tmp_path / "disk" / "journal"
        with running(tmp_path, ready=False, journal=journal) as server:
            server.apply(routing(1, stable))
            since = datetime.now(UTC)
            with load(server, trained.rows) as seen:
                wait_for(lambda: len(seen.answers) > 20, 10)
                filler = tmp_path / "disk" / "filler"
                fill(filler)
                wait_for(lambda: server.database.events("journal_error"), 10)
                asked = len(seen.answers)
                wait_for(lambda: len(seen.answers) > asked + 20, 10)
                filler.unlink()
                freed, asked = datetime.now(UTC), len(seen.answers)
                wait_for(lambda: len(seen.answers) > asked + 20, 10)
                time.sleep(0.3)
            assert_all_answered(seen)
            assert "No space left" in server.database.events("journal_error")[0]["reason"]
            table = JournalFiles(journal).read(MODEL, since, datetime.now(UTC))
            assert re.search(rb"\d+ rows shed", table.schema.metadata[INCOMPLETE])
            last = JournalFiles(journal).read(MODEL, freed + timedelta(seconds=0.3), datetime.now(UTC))
            assert last.num_rows > 0
            assert b"shed" not in last.schema.metadata[INCOMPLETE]


# ---- clock -----------------------------------------------------------------------------------------


def row_at(at: int) -> tuple[Any, ...]:
    return (f"r{at}", at, 0, 1, None, "v", "stable", None, -1, "hash", 0, 0.5, None, float("nan"), 1, 9, 1.0, "ok",
            None, None, 0, 1.0)  # fmt: skip


def test_rows_of_an_hour_that_the_clock_repeats_are_all_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    clock = [int(start.timestamp() * 1e6)]
    monkeypatch.setattr("gauntlet.serving.journal.now_us", lambda: clock[0])
    stream = Stream(tmp_path / MODEL, "w", JournalPolicy(), 1000)

    def write(minutes: int) -> None:
        for _ in range(minutes):
            stream.queue.append(row_at(clock[0]))
            stream.write(segment_bytes=1 << 20, segment_s=3600.0)
            clock[0] += 60_000_000

    write(10)
    clock[0] -= 3600 * 1_000_000
    write(70)
    stream.close()
    reader = JournalFiles(tmp_path)

    def rows(first: int, last: int) -> int:
        found = reader.read(MODEL, start + timedelta(minutes=first), start + timedelta(minutes=last))
        assert found.schema.metadata[INCOMPLETE] == b""
        return int(found.num_rows)

    assert rows(-60, 60) == 80
    assert [rows(minute, minute) for minute in range(-50, 20)] == [1] * 50 + [2] * 10 + [1] * 10


# ---- challengers -----------------------------------------------------------------------------------


def test_a_challenger_that_gives_no_number_one_time_in_a_thousand_never_shows(tmp_path: Path) -> None:
    broken, finite = overflowing(4)
    bad = sorted(set(range(len(broken.rows))) - set(finite))[0]
    champion = train(3, task=Task.REGRESSION)
    golden = Trained(
        broken.booster, broken.features, [broken.rows[i] for i in finite], broken.matrix[finite], broken.task
    )
    text = broken.booster.model_to_string().encode()
    release = write_release(tmp_path / "broken", golden, "v-broken", text=text, tree_digest=tree_digest(text))
    sound = served(write_release(tmp_path / "sound", champion, "v-sound"), 1)
    rows = [broken.rows[finite[i % len(finite)]] for i in range(999)]
    with running(tmp_path, ready=False) as server:
        assert server.apply(routing(1, sound, served(release, 2), PPM)).status_code == 200
        since = datetime.now(UTC)
        for place in (0, 500, 999):
            answer = server.predict_rows([*rows[:place], broken.rows[bad], *rows[place:]])
            assert answer.status_code == 200
            predictions = answer.json()["predictions"]
            assert all(np.isfinite(one["score"]) for one in predictions)
            assert predictions[place]["version_id"] == "v-sound"
            assert predictions[place]["score"] == champion.scores(broken.matrix[bad : bad + 1])[0]
        assert server.reports()[0]["weight_ppm"] == PPM, "so few errors are for the judge, not for the breaker"
        table = journaled(server, since)
    assert Counter(table.column("status").to_pylist()) == {"ok": 2997, "fallback": 3}
    assert set(table.column("version_id").to_pylist()) == {"v-broken"}


def test_a_corrupt_model_costs_no_request(tmp_path: Path, stable: Any, trained: Trained, challenger: Trained) -> None:
    text = challenger.booster.model_to_string().encode()
    cut = write_release(tmp_path / "cut", challenger, "v-cut", text=text[: len(text) // 2])
    changed = write_release(tmp_path / "changed", challenger, "v-changed")
    model = tmp_path / "changed" / "model.txt"
    model.write_bytes(model.read_bytes().replace(b"leaf_value=", b"leaf_valve=", 1))
    with running(tmp_path, ready=False) as server:
        server.apply(routing(1, stable))
        with load(server, trained.rows, users=2) as seen:
            assert server.prepare(cut).status_code == 422
            assert server.prepare(changed).status_code == 422
            assert server.apply(routing(2, stable, served(cut, 7), PPM)).status_code == 422
        assert_all_answered(seen)
        assert {one["version_id"] for one in seen.answers} == {"v-one"}
        assert len(server.database.events("release_refused")) == 3
