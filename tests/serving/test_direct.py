"""However a request arrives, in one piece or in many, it gets the answer HTTP says it should."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.serving.control import MODEL
from tests.serving.servers import RunningServer, Trained, routing, running

from gauntlet.core.specs.serving import JournalPolicy, ServingSection

PATH = f"/v1/models/{MODEL}/predict"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stable: Any) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("direct"), ready=False) as started:
        assert started.apply(routing(1, stable)).status_code == 200
        yield started


def request(body: bytes, *headers: str, path: str = PATH, version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "host: x", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Wire:
    """One connection, byte by byte."""

    def __init__(self, server: RunningServer) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        self.file = self.socket.makefile("rb")

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def answer(self) -> tuple[int, dict[str, Any]]:
        status = int(self.file.readline().split()[1])
        length = 0
        while line := self.file.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, json.loads(self.file.read(length)) if length else {}

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def wire(server: RunningServer) -> Iterator[Wire]:
    made = Wire(server)
    yield made
    made.close()


@pytest.fixture
def body(trained: Trained) -> bytes:
    return json.dumps({"row": trained.rows[0]}).encode()


@pytest.fixture
def score(trained: Trained) -> float:
    return float(trained.scores(trained.matrix[:1])[0])


def test_in_one_piece_again_and_again_on_one_connection(wire: Wire, body: bytes, score: float) -> None:
    for _ in range(3):
        wire.send(request(body))
        status, told = wire.answer()
        assert (status, told["score"]) == (200, score)


@pytest.mark.parametrize("cuts", [(1,), (40,), (-1,), (60, -20), (-30, -10)])
def test_in_pieces(wire: Wire, body: bytes, score: float, cuts: tuple[int, ...]) -> None:
    content = request(body)
    start = 0
    for cut in (*(cut % len(content) for cut in cuts), len(content)):
        wire.send(content[start:cut])
        time.sleep(0.03)
        start = cut
    assert wire.answer()[1]["score"] == score
    wire.send(content)
    assert wire.answer()[1]["score"] == score


def test_several_at_once_are_answered_in_their_order(wire: Wire, trained: Trained) -> None:
    rows = trained.rows[:6]
    bodies = [json.dumps({"row": row, "request_id": f"r{i}"}).encode() for i, row in enumerate(rows)]
    # The third takes the long way, and the others must wait for it.
    bodies[2] = json.dumps({"rows": trained.rows[:500], "request_id": "r2"}).encode()
    wire.send(b"".join(request(body) for body in bodies))
    assert [wire.answer()[1]["request_id"] for _ in bodies] == [f"r{i}" for i in range(6)]


def test_one_in_two_halves_after_another(wire: Wire, body: bytes, score: float) -> None:
    content = request(body)
    wire.send(content + content[:80])
    assert wire.answer()[1]["score"] == score
    wire.send(content[80:])
    assert wire.answer()[1]["score"] == score


@pytest.mark.parametrize(("header", "version"), [("connection: close", "1.1"), ("accept: */*", "1.0")])
def test_a_connection_that_is_to_close_closes(wire: Wire, body: bytes, score: float, header: str, version: str) -> None:
    wire.send(request(body, header, version=version))
    assert wire.answer()[1]["score"] == score
    assert wire.file.read() == b""


def test_a_client_that_waits_for_leave_gets_it(wire: Wire, body: bytes, score: float) -> None:
    content = request(body, "expect: 100-continue")
    wire.send(content[: -len(body)])
    assert wire.file.readline() == b"HTTP/1.1 100 Continue\r\n"
    wire.file.readline()
    wire.send(body)
    assert wire.answer()[1]["score"] == score


def test_chunks(wire: Wire, body: bytes, score: float) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    parts = [body[:30], body[30:]]
    wire.send(head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n")
    assert wire.answer()[1]["score"] == score


@pytest.mark.parametrize(
    ("content", "status"),
    [(b'{"row": {"x0": 1}}', 422), (b"{", 400), (b'{"row": {}, "rows": []}', 400), (b"", 400)],
)
def test_refusals_leave_the_connection_open(wire: Wire, body: bytes, score: float, content: bytes, status: int) -> None:
    wire.send(request(content))
    assert wire.answer()[0] == status
    wire.send(request(body))
    assert wire.answer()[1]["score"] == score


def test_a_query_and_another_method_are_no_reason_to_fail(wire: Wire, body: bytes, score: float) -> None:
    wire.send(request(body, path=f"{PATH}?x=1"))
    assert wire.answer()[1]["score"] == score
    wire.send(f"GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert wire.answer()[0] == 405


def test_before_there_is_a_version_it_says_when_to_come_back(tmp_path: Any, body: bytes) -> None:
    with running(tmp_path, ready=False) as server:
        answer = server.client.post(PATH, content=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_a_request_that_has_used_up_its_time_is_told_to_come_back(tmp_path: Any, stable: Any, trained: Trained) -> None:
    with running(tmp_path, ready=False, request_budget_s=0.001) as server:
        server.apply(routing(1, stable))
        answer = server.predict_rows(trained.rows[:600])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "over while scoring row" in answer.json()["error"]
        assert server.predict(trained.rows[0]).status_code == 200


def test_a_journal_that_blocks_takes_no_more_than_the_budget(tmp_path: Any, stable: Any, trained: Trained) -> None:
    block = ServingSection(journal=JournalPolicy(overflow="block"))
    slow = {"journal_queue": 1, "journal_interval_s": 60.0, "request_budget_s": 0.4}
    with running(tmp_path, ready=False, serving=block, **slow) as server:
        server.apply(routing(1, stable))
        assert server.predict(trained.rows[0]).status_code == 200
        answer = server.predict(trained.rows[0])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "waiting for the journal" in answer.json()["error"]
