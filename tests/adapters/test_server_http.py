"""The admin socket as the pipeline sees it, and its twin: the same promises from both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.control import MODEL
from tests.serving.servers import TOKEN, RunningServer, Trained, routing, running, served, train, write_release

from gauntlet.adapters.memory.serving import MemoryServer
from gauntlet.adapters.server_http import HttpServer
from gauntlet.core.errors import InfrastructureError, IntegrityError, Rejection
from gauntlet.core.ports import Server
from gauntlet.core.records.model import ReleaseRef
from gauntlet.core.records.rollout import PPM, ServedVersion

Case = tuple[Server, list[ReleaseRef], list[ServedVersion], list[Trained]]


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ReleaseRef], list[ServedVersion], list[Trained]]:
    folder = tmp_path_factory.mktemp("releases")
    trained = [train(1), train(2)]
    releases = [write_release(folder / str(i), one, f"v-{i}") for i, one in enumerate(trained)]
    return releases, [served(release, i + 1) for i, release in enumerate(releases)], trained


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("admin"), ready=False, workers=2) as started:
        yield started


@pytest.fixture(params=["real", "memory"])
def case(request: pytest.FixtureRequest, real: RunningServer, versions: Any) -> Case:
    releases, known, trained = versions
    if request.param == "real":
        server: Server = HttpServer(f"unix:{real.config.admin_socket}", TOKEN)
    else:
        scores = {
            one.version_id: lambda row, model=model: model.scores(model.matrix[[model.rows.index(row)]])[0]
            for one, model in zip(known, trained, strict=True)
        }
        server = MemoryServer(scores)
    return server, releases, known, trained


EPOCH = iter(range(1, 1000))


def test_prepare_then_predict_with_version(case: Case) -> None:
    server, releases, _, trained = case
    measured = server.prepare(MODEL, releases[1])
    assert measured["version_id"] == "v-1"
    rows = trained[1].rows[:8]
    assert list(server.predict(MODEL, rows, version_id="v-1")) == trained[1].scores(trained[1].matrix[:8])


def test_apply_is_reported_by_every_worker(case: Case) -> None:
    server, _, known, _ = case
    row = routing(next(EPOCH), known[0], known[1], 250_000)
    reports = server.apply(row, 20.0)
    assert len(reports) == 2
    assert {(r.epoch, r.stable, r.canary, r.weight_ppm) for r in reports} == {(row.epoch, "v-0", "v-1", 250_000)}
    assert {r.worker for r in server.reports(MODEL)} == {r.worker for r in reports}
    assert all({"v-0", "v-1"} <= set(r.loaded) for r in reports)


def test_an_older_routing_changes_nothing(case: Case) -> None:
    server, _, known, _ = case
    new = routing(next(EPOCH) + 500, known[0])
    server.apply(new, 20.0)
    assert {r.epoch for r in server.apply(routing(1, known[1], known[0], PPM), 20.0)} == {new.epoch}


def test_without_a_version_the_stable_one_answers(case: Case) -> None:
    server, _, known, trained = case
    server.apply(routing(next(EPOCH) + 600, known[0]), 20.0)
    assert list(server.predict(MODEL, trained[0].rows[:3])) == trained[0].scores(trained[0].matrix[:3])


def test_a_version_that_is_not_loaded_is_a_rejection(case: Case) -> None:
    server, _, known, trained = case
    server.apply(routing(next(EPOCH) + 700, known[0]), 20.0)
    with pytest.raises(Rejection, match="v-77"):
        server.predict(MODEL, trained[0].rows[:1], version_id="v-77")


def test_a_damaged_release_is_an_integrity_error(case: Case, tmp_path: Path) -> None:
    server, _, _, trained = case
    release = write_release(tmp_path / "damaged", trained[0], "v-damaged")
    (tmp_path / "damaged" / "model.txt").write_text("tree\n")
    with pytest.raises(IntegrityError, match="v-damaged"):
        server.prepare(MODEL, release)


# ---- the real one only -----------------------------------------------------------------------------


def test_a_server_that_is_down_is_named(tmp_path: Path) -> None:
    for address in (f"unix:{tmp_path}/nothing.sock", "http://127.0.0.1:9"):
        with pytest.raises(InfrastructureError, match=address):
            HttpServer(address, TOKEN).reports(MODEL)


def test_a_wrong_token_is_not_a_verdict_on_the_model(real: RunningServer, versions: Any) -> None:
    server = HttpServer(f"unix:{real.config.admin_socket}", "wrong")
    with pytest.raises(InfrastructureError, match="401"):
        server.prepare(MODEL, versions[0][0])


def test_a_model_that_is_not_served_is_a_rejection(real: RunningServer) -> None:
    with pytest.raises(Rejection, match="not served here"):
        HttpServer(f"unix:{real.config.admin_socket}", TOKEN).reports("unknown")
