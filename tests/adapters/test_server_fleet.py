"""Two real model servers behind one address: told together, confirmed together, compared with each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.processes import free_port
from tests.serving.control import MODEL
from tests.serving.servers import TOKEN, RunningServer, Trained, routing, running, served, train, write_release

from gauntlet.adapters.server_fleet import FleetServer, addresses_of, open_server
from gauntlet.adapters.server_http import HttpServer
from gauntlet.core.errors import InfrastructureError
from gauntlet.core.records.model import ReleaseRef
from gauntlet.core.records.rollout import ServedVersion


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReleaseRef, ServedVersion, Trained]:
    trained = train(1)
    release = write_release(tmp_path_factory.mktemp("releases") / "0", trained, "v-0")
    return release, served(release, 1), trained


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FleetServer, list[RunningServer], list[str]]]:
    ports = [free_port(), free_port()]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                running(tmp_path_factory.mktemp(f"host{port}"), ready=False, admin_listen=f"127.0.0.1:{port}")
            )
            for port in ports
        ]
        places = [f"http://127.0.0.1:{port}" for port in ports]
        yield FleetServer(",".join(places), TOKEN), servers, places


def test_a_change_counts_when_every_replica_has_confirmed(fleet, version) -> None:
    server, servers, places = fleet
    release, known, trained = version
    assert server.prepare(MODEL, release)["version_id"] == "v-0"
    reports = server.apply(routing(7, known), 20.0)
    assert {report.worker.rsplit("/", 1)[0] for report in reports} == set(places)
    assert {(report.epoch, report.stable) for report in reports} == {(7, "v-0")}
    assert sorted(report.worker for report in server.reports(MODEL)) == sorted(report.worker for report in reports)
    for each in servers:
        assert each.client.get("/ready").status_code == 200
    rows = trained.rows[:4]
    assert list(server.predict(MODEL, rows)) == trained.scores(trained.matrix[:4])


def test_the_admin_port_wants_the_token(fleet) -> None:
    _, _, places = fleet
    for token in ("x", "wrong"):
        with pytest.raises(InfrastructureError, match="wants its token"):
            HttpServer(places[0], token).reports(MODEL)


def test_a_replica_that_does_not_answer_is_no_confirmation(fleet, version) -> None:
    _, _, places = fleet
    _, known, _ = version
    broken = FleetServer(f"{places[0]},http://127.0.0.1:{free_port()}", TOKEN)
    with pytest.raises(InfrastructureError, match="does not answer apply"):
        broken.apply(routing(8, known), 5.0)


def test_replicas_are_found_by_name(fleet) -> None:
    _, _, places = fleet
    port = int(places[0].rsplit(":", 1)[1])
    asked: list[tuple[str, int]] = []

    def resolve(name: str, number: int) -> list[str]:
        asked.append((name, number))
        return ["127.0.0.1"]

    server = FleetServer(f"dns:http://model-server-admin:{port}", TOKEN, resolve)
    assert server.reports(MODEL)
    assert asked == [("model-server-admin", port)]


def test_a_name_that_stands_for_nobody_says_so() -> None:
    assert addresses_of("localhost", 80)
    with pytest.raises(InfrastructureError, match="cannot be resolved"):
        FleetServer("dns:http://nowhere.invalid:8301", TOKEN).reports(MODEL)
    with pytest.raises(InfrastructureError, match="write dns:http://name:port"):
        FleetServer("dns:http://name", TOKEN).reports(MODEL)


def test_one_address_needs_no_fleet() -> None:
    assert isinstance(open_server("unix:/tmp/x.sock", TOKEN), HttpServer)
    assert isinstance(open_server("http://a:1,http://b:1", TOKEN), FleetServer)


def test_an_admin_address_that_is_none_is_refused() -> None:
    from gauntlet.serving.admin import remote_socket

    with pytest.raises(InfrastructureError, match="write host:port"):
        remote_socket("nonsense")
