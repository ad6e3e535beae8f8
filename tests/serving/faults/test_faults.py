"""What goes wrong in production: users see answers, the champion stays, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.processes import wait_for
from tests.serving.control import MODEL, gone_fetch, gone_routing, run_impatient_server
from tests.serving.servers import (
    RunningServer,
    Trained,
    routing,
    running,
    served,
    train,
    write_release,
)
from tests.serving.users import assert_all_answered, assert_none_failed, journaled, load, overflowing

from gauntlet.adapters.journal import INCOMPLETE
from gauntlet.core.model_text import tree_digest
from gauntlet.core.records.model import ReleaseRef, Task
from gauntlet.core.records.rollout import PPM
from gauntlet.core.specs.serving import JournalPolicy, ServingSection

# ---- processes -------------------------------------------------------------------------------------


def test_nothing_acknowledged_as_durable_is_lost_when_workers_are_killed(
    tmp_path: Path, stable: Any, trained: Trained
) -> None:
    sync = ServingSection(journal=JournalPolicy(durability="sync"))
    with running(tmp_path, ready=False, serving=sync, workers=2) as server:
        server.apply(routing(1, stable))
        since = datetime.now(UTC)
        with load(server, trained.rows) as seen:
            for _ in range(2):
                time.sleep(0.4)
                killed = server.workers()[0]
                os.kill(killed, signal.SIGKILL)
                wait_for(partial(_replaced, server, killed), 20)
            time.sleep(0.4)
        ended = server.database.events("worker_ended")
        assert [event["how"] for event in ended] == ["SIGKILL", "SIGKILL"]
        table = journaled(server, since)
    ids = set(table.column("request_id").to_pylist())
    assert len(seen.acknowledged) > 20
    assert set(seen.acknowledged) <= ids
    assert "ended without closing" in table.schema.metadata[INCOMPLETE].decode()
    # Only requests that the killed worker held can break; those after it go to the other one.
    assert seen.broken <= 2 * 4
    assert_none_failed(seen)


def test_a_server_killed_outright_starts_again_from_its_snapshot_with_everything_else_down(
    tmp_path: Path, stable: Any, canary: Any, trained: Trained
) -> None:
    with running(tmp_path, ready=False, workers=1) as server:
        server.apply(routing(1, stable, canary, PPM, lease_s=600))
        since = datetime.now(UTC)
        for row in trained.rows[:5]:
            assert server.predict(row, entity="a").json()["arm"] == "canary"
        time.sleep(0.2)
        workers = server.workers()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.join()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() and _alive(pid) for pid in workers), 10)
    with running(tmp_path, fetch=gone_fetch, read_routing=gone_routing) as again:
        answer = again.predict(trained.rows[0], entity="a").json()
        assert (answer["epoch"], answer["arm"]) == (1, "canary")
        wait_for(lambda: again.database.events("routing_unreadable"), 5)
        assert journaled(again, since).num_rows == 6


def _replaced(server: RunningServer, killed: int) -> bool:
    return len(server.workers()) == 2 and killed not in server.workers()


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_worker_killed_in_the_middle_of_a_swap_comes_back_with_the_new_routing(
    tmp_path: Path, stable: Any, canary: Any, trained: Trained
) -> None:
    with running(tmp_path, ready=False, workers=2) as server:
        server.apply(routing(1, stable, canary, PPM))
        with load(server, trained.rows) as seen:
            killer = threading.Thread(target=lambda: os.kill(server.workers()[0], signal.SIGKILL))
            killer.start()
            answer = server.apply(routing(2, stable))
            killer.join()
            assert answer.status_code == 200, answer.text
            wait_for(lambda: [report["epoch"] for report in server.reports()] == [2, 2], 20)
        assert_none_failed(seen)
        assert {server.predict(row, entity="a").json()["arm"] for row in trained.rows[:10]} == {"stable"}


def test_a_worker_that_hangs_is_replaced(tmp_path: Path, stable: Any, trained: Trained) -> None:
    with running(tmp_path, ready=False, workers=2, target=run_impatient_server) as server:
        server.apply(routing(1, stable))
        stuck = server.workers()[0]
        os.kill(stuck, signal.SIGSTOP)
        wait_for(partial(_replaced, server, stuck), 20)
        assert server.database.events("worker_hung")
        assert server.predict(trained.rows[0]).status_code == 200


def test_two_servers_cannot_share_a_state_folder(tmp_path: Path, stable: Any) -> None:
    with running(tmp_path, ready=False) as server:
        server.apply(routing(1, stable))
        with pytest.raises(AssertionError, match="ended while starting"), running(tmp_path, ready=False):
            pass


# ---- releases --------------------------------------------------------------------------------------


def flipped(folder: Path, release: ReleaseRef) -> ReleaseRef:
    text = bytearray((folder / "model.txt").read_bytes())
    text[len(text) // 2] ^= 1
    (folder / "model.txt").write_bytes(text)
    return release


def emptied(folder: Path, release: ReleaseRef) -> ReleaseRef:
    (folder / "golden.json").unlink()
    return release


def other_manifest(folder: Path, release: ReleaseRef) -> ReleaseRef:
    return release.model_copy(update={"digest": "0" * 64})


@pytest.mark.parametrize(
    ("damage", "says"),
    [(flipped, "model.txt is not the one released"), (emptied, "golden.json"), (other_manifest, "manifest.json")],
)
def test_a_damaged_release_is_refused_and_the_champion_stays(
    tmp_path: Path,
    server: RunningServer,
    trained: Trained,
    challenger: Trained,
    damage: Callable[[Path, ReleaseRef], ReleaseRef],
    says: str,
) -> None:
    release = damage(tmp_path / "r", write_release(tmp_path / "r", challenger, f"v-{damage.__name__}"))
    answer = server.prepare(release)
    assert answer.status_code == 422
    assert (answer.json()["kind"], says in answer.json()["error"]) == ("IntegrityError", True), answer.text
    assert server.predict(trained.rows[0]).json()["version_id"] == "v-one"
    refused = server.database.events("release_refused")
    assert any(event["version_id"] == release.version_id for event in refused)


def test_a_text_that_would_crash_the_process_is_refused(
    tmp_path: Path, server: RunningServer, trained: Trained, challenger: Trained
) -> None:
    # Consistent digests, as if it had been released like that.
    text = challenger.booster.model_to_string().encode()
    cut = text[: len(text) // 2]
    answer = server.prepare(write_release(tmp_path / "cut", challenger, "v-cut", text=cut))
    assert answer.status_code == 422
    wild = re.sub(rb"left_child=(-?\d+)", rb"left_child=9999", text, count=1)
    answer = server.prepare(write_release(tmp_path / "wild", challenger, "v-wild", text=wild))
    assert answer.status_code == 422
    assert server.predict(trained.rows[0]).json()["version_id"] == "v-one"


def test_a_release_that_scores_golden_rows_differently_is_refused(
    tmp_path: Path, server: RunningServer, challenger: Trained
) -> None:
    scores = challenger.scores(challenger.matrix[:20])
    scores[7] += 1e-6
    release = write_release(tmp_path / "golden", challenger, "v-golden", golden_scores=tuple(scores))
    answer = server.prepare(release)
    assert answer.status_code == 422
    assert "golden row 7" in answer.json()["error"]


def test_a_routing_whose_canary_cannot_be_loaded_gives_it_no_traffic(
    tmp_path: Path, server: RunningServer, stable: Any, trained: Trained, challenger: Trained
) -> None:
    release = flipped(tmp_path / "r", write_release(tmp_path / "r", challenger, "v-lost"))
    answer = server.apply(routing(500, stable, served(release, 9), PPM))
    assert answer.status_code == 422
    report = server.reports()[0]
    assert (report["epoch"], report["canary"], report["weight_ppm"]) == (500, None, 0)
    assert server.predict(trained.rows[0]).json()["arm"] == "stable"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stable: Any) -> Iterator[RunningServer]:
    """One worker, the stable version alone."""
    with running(tmp_path_factory.mktemp("faults"), ready=False) as started:
        assert started.apply(routing(1, stable)).status_code == 200
        yield started


# ---- challengers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def regressions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Trained, list[int]]:
    """A sound regression champion, and a challenger that overflows on some rows."""
    folder = tmp_path_factory.mktemp("regressions")
    champion = train(3, task=Task.REGRESSION)
    broken, finite = overflowing(4)
    assert 0 < len(broken.rows) - len(finite) < len(broken.rows)
    golden = Trained(
        broken.booster, broken.features, [broken.rows[i] for i in finite], broken.matrix[finite], broken.task
    )
    text = broken.booster.model_to_string().encode()
    release = write_release(folder / "broken", golden, "v-broken", text=text, tree_digest=tree_digest(text))
    return served(write_release(folder / "sound", champion, "v-sound"), 1), served(release, 2), broken, finite


def test_a_challenger_that_fails_now_and_then_is_answered_by_the_champion_and_taken_out(
    tmp_path: Path, regressions: tuple[Any, Any, Trained, list[int]]
) -> None:
    sound, broken, trained, finite = regressions
    bad = sorted(set(range(len(trained.rows))) - set(finite))
    with running(tmp_path, ready=False, workers=2) as server:
        assert server.apply(routing(1, sound, broken, PPM)).status_code == 200
        since = datetime.now(UTC)
        first = server.predict(trained.rows[bad[0]], entity="x")
        assert first.status_code == 200
        assert (first.json()["arm"], first.json()["version_id"]) == ("canary", "v-sound")
        with load(server, trained.rows) as seen:
            wait_for(lambda: server.database.events("breaker_tripped"), 30)
            wait_for(lambda: [report["weight_ppm"] for report in server.reports()] == [0, 0], 5)
            time.sleep(0.2)
        assert_all_answered(seen)
        assert {one["arm"] for one in seen.answers[-20:]} == {"stable"}
        table = journaled(server, since).to_pylist()
        failed = [row for row in table if row["status"] == "fallback"]
        assert len(failed) >= 5
        assert {(row["arm"], row["version_id"], row["error"]) for row in failed} == {
            ("canary", "v-broken", "invalid: not finite")
        }
        # The trip holds for this rollout, also when its lease is renewed under a new epoch.
        server.apply(routing(2, sound, broken, PPM))
        assert server.predict(trained.rows[finite[0]], entity="x").json()["arm"] == "stable"
        # Another rollout starts clean.
        server.apply(routing(3, sound, broken, PPM, rollout="rollout-2"))
        assert server.predict(trained.rows[finite[0]], entity="x").json()["arm"] == "canary"


def test_a_slow_challenger_is_taken_out_and_no_user_sees_an_error(
    tmp_path: Path, stable: Any, canary: Any, trained: Trained
) -> None:
    # The budget is below what any model can do, so that a healthy one counts as slow.
    strict = ServingSection(challenger_budget_ms=0.0001)
    with running(tmp_path, ready=False, serving=strict) as server:
        server.apply(routing(1, stable, canary, PPM // 2))
        with load(server, trained.rows, users=2) as seen:
            wait_for(lambda: server.database.events("breaker_tripped"), 10)
            time.sleep(0.1)
        assert_all_answered(seen)
        assert "slow" in server.database.events("breaker_tripped")[0]["reason"]
        assert server.reports()[0]["weight_ppm"] == 0


def test_a_challenger_that_wants_a_feature_nobody_sends_falls_back(
    tmp_path: Path, stable: Any, trained: Trained
) -> None:
    wider = train(8, numeric=5)
    release = write_release(tmp_path / "wider", wider, "v-wider")
    with running(tmp_path, ready=False) as server:
        assert server.apply(routing(1, stable, served(release, 3), PPM)).status_code == 200
        answer = server.predict(trained.rows[0], entity="x")
        assert answer.status_code == 200
        assert answer.json()["version_id"] == "v-one"
        both = server.predict({**wider.rows[0]}, entity="x").json()
        assert both["version_id"] == "v-wider"
        assert both["score"] == wider.scores(wider.matrix[:1])[0]


# ---- everything else -------------------------------------------------------------------------------


def test_users_are_served_while_the_journal_cannot_be_written(tmp_path: Path, stable: Any, trained: Trained) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / MODEL).write_text("a file where the folder should be")
    with running(tmp_path, ready=False) as server:
        server.apply(routing(1, stable))
        with load(server, trained.rows, users=2) as seen:
            wait_for(lambda: server.database.events("journal_error"), 10)
            time.sleep(0.2)
        assert_all_answered(seen)
        page = server.client.get("/metrics").text
        assert re.search(r"^gauntlet_journal_errors_total [1-9]", page, re.MULTILINE)


def test_with_sync_durability_nothing_is_acknowledged_that_is_not_written(
    tmp_path: Path, stable: Any, trained: Trained
) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / MODEL).write_text("a file where the folder should be")
    sync = ServingSection(journal=JournalPolicy(durability="sync"))
    with running(tmp_path, ready=False, serving=sync) as server:
        server.apply(routing(1, stable))
        answer = server.predict(trained.rows[0])
        assert answer.status_code == 503
        assert "journal" in answer.json()["error"]


def test_too_many_requests_are_told_to_come_back(tmp_path: Path, stable: Any, trained: Trained) -> None:
    with running(tmp_path, ready=False, max_concurrency=1, request_budget_s=0.6) as server:
        server.apply(routing(1, stable))
        slow = slow_request(server.port)
        time.sleep(0.2)
        answer = server.predict(trained.rows[0])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        # The slow sender's time runs out, and its place is free again.
        assert b" 408 " in slow.recv(4096)
        slow.close()
        assert server.predict(trained.rows[0]).status_code == 200


def slow_request(port: int) -> Any:
    import socket

    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
    return sock


def test_a_client_that_leaves_harms_nobody(server: RunningServer, trained: Trained) -> None:
    for _ in range(20):
        slow_request(server.port).close()
    assert server.predict(trained.rows[0]).status_code == 200


def test_the_blob_store_gone_refuses_a_new_release_and_nothing_else(
    tmp_path: Path, stable: Any, releases: tuple[ReleaseRef, ReleaseRef], trained: Trained
) -> None:
    with running(tmp_path, ready=False) as server:
        server.apply(routing(1, stable))
    with running(tmp_path, fetch=gone_fetch) as server:
        answer = server.prepare(releases[1])
        assert answer.status_code == 503
        assert "blob store is down" in answer.json()["error"]
        assert server.predict(trained.rows[0]).status_code == 200
