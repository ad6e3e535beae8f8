"""Messages reach a real HTTP service; an address is never shown; nobody routed to is an error."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gauntlet.adapters.heartbeat import Heartbeat
from gauntlet.adapters.notify import AppriseNotifier, read_routes
from gauntlet.core.errors import InfrastructureError, SpecError

LABELS = {"model": "m", "team": "lending"}


class Receiver:
    """An HTTP server that keeps what it is sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, str]] = []
        self.gets: list[str] = []
        self.status = 200
        receiver = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self._end()

            def do_GET(self) -> None:
                receiver.gets.append(self.path)
                self._end()

            def _end(self) -> None:
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Answer)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def test_a_message_arrives_with_its_text_and_kind(receiver: Receiver) -> None:
    notifier = AppriseNotifier({"lending": {"page": [f"json://{receiver.address}"]}})
    notifier.send("m data: rows are gone", "- 12 rows", severity="page", labels=LABELS)
    notifier.send("m data: resolved", "-", severity="page", labels={**LABELS, "kind": "resolved"})
    assert [(body["title"], body["type"]) for body in receiver.bodies] == [
        ("m data: rows are gone", "failure"),
        ("m data: resolved", "success"),
    ]
    assert "12 rows" in receiver.bodies[0]["message"]


def test_routes_are_by_team_then_anybody_and_a_page_reaches_somebody(receiver: Receiver) -> None:
    here = f"json://{receiver.address}"
    notifier = AppriseNotifier({"lending": {"warning": [here]}, "*": {"page": ["json://127.0.0.1:1"]}})
    notifier.send("s", "b", severity="page", labels=LABELS)
    assert len(receiver.bodies) == 1, "the team's own warning address takes its pages"
    with pytest.raises(InfrastructureError, match="did not take it"):
        notifier.send("s", "b", severity="page", labels={"team": "other"})


def test_the_team_of_a_model_is_looked_up_where_none_is_said(receiver: Receiver) -> None:
    routes = {"lending": {"warning": [f"json://{receiver.address}"]}}
    AppriseNotifier(routes, team_of=lambda model: "lending" if model == "m" else "*").send(
        "s", "b", severity="critical", labels={"model": "m"}
    )
    assert len(receiver.bodies) == 1


def test_nobody_routed_to_is_an_error() -> None:
    with pytest.raises(InfrastructureError, match="names nobody for page of team lending"):
        AppriseNotifier({}).send("s", "b", severity="page", labels=LABELS)


def test_an_address_is_never_shown(receiver: Receiver) -> None:
    receiver.status = 500
    for url in (f"json://user:hunter2@{receiver.address}", "nonsense://hunter2"):
        with pytest.raises(InfrastructureError) as raised:
            AppriseNotifier({"*": {"page": [url]}}).send("s", "b", severity="page", labels=LABELS)
        assert "hunter2" not in str(raised.value)


def test_connections_of_airflow_are_addresses(receiver: Receiver) -> None:
    notifier = AppriseNotifier(
        {"*": {"page": ["airflow://pager"]}}, connection_url=lambda name: f"json://{receiver.address}/{name}"
    )
    notifier.send("s", "b", severity="page", labels=LABELS)
    assert len(receiver.bodies) == 1
    with pytest.raises(InfrastructureError, match="inside Airflow only"):
        AppriseNotifier({"*": {"page": ["airflow://pager"]}}).send("s", "b", severity="page", labels=LABELS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "must be an object"),
        ('{"*": []}', "must be an object from severity"),
        ('{"*": {"pages": []}}', "page"),
        ('{"*": {"page": "json://x"}}', "list of URLs"),
    ],
)
def test_routes_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_routes(text)


def test_a_heartbeat_is_heard_or_its_silence_is_an_error(receiver: Receiver) -> None:
    Heartbeat(None).beat()
    beat = Heartbeat(f"http://{receiver.address}/ping/secret")
    beat.beat()
    assert receiver.gets == ["/ping/secret"]
    receiver.status = 500
    with pytest.raises(InfrastructureError) as raised:
        beat.beat()
    assert "secret" not in str(raised.value)
