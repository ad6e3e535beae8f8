"""The part of ``gauntlet rollback`` that runs before its imports: light, and never in the way."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from gauntlet.cli.head_start import REQUEST, head_start, order

WORDS = ["credit", "--reason", "scores collapsed"]


class Answering(Thread):
    """Takes one request on a Unix socket or a port, and answers it with a status."""

    def __init__(self, listening: socket.socket, status: int) -> None:
        super().__init__(daemon=True)
        self.listening, self.status, self.taken = listening, status, b""

    def run(self) -> None:
        connection, _ = self.listening.accept()
        with connection:
            while b"\r\n\r\n" not in self.taken or not self.taken.endswith(b"}"):
                self.taken += connection.recv(65536)
            connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % self.status)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gh-") as name:
        for variable in ("GAUNTLET_SERVER_ADMIN", "GAUNTLET_SERVER_TOKEN"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("GAUNTLET_HOME", name)
        (Path(name) / "server").mkdir()
        (Path(name) / "server" / "admin.token").write_text("secret\n")
        yield Path(name)


def unix(home: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(home / "server" / "admin.sock"))
    listening.listen()
    return listening


def test_the_server_is_asked_with_token_name_reason_and_request(home: Path) -> None:
    with unix(home) as listening:
        server = Answering(listening, 200)
        server.start()
        assert head_start(WORDS) is True
        server.join(5)
    head, _, body = server.taken.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /admin/rollback HTTP/1.1")
    assert b"Authorization: Bearer secret" in head
    asked = json.loads(body)
    assert asked.pop("actor")
    assert asked == {"model": "credit", "reason": "scores collapsed", "request": REQUEST}


@pytest.mark.parametrize("status", [401, 404, 409, 422, 500, 503])
def test_whatever_the_server_refuses_is_left_to_the_command(home: Path, status: int) -> None:
    with unix(home) as listening:
        server = Answering(listening, status)
        server.start()
        assert head_start(WORDS) is False
        server.join(5)


def test_a_server_at_an_address_is_asked_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("GAUNTLET_SERVER_ADMIN", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("GAUNTLET_SERVER_TOKEN", "other")
        server = Answering(listening, 200)
        server.start()
        assert head_start(WORDS) is True
        server.join(5)
    assert b"Bearer other" in server.taken


@pytest.mark.parametrize("address", ["", "https://far.example", "unix:/nowhere/admin.sock", "http://127.0.0.1:9", "x"])
def test_without_a_server_nothing_happens(home: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("GAUNTLET_SERVER_ADMIN", address)
    assert head_start(WORDS) is False


def test_without_an_installation_nothing_happens(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAUNTLET_HOME", "/nowhere")
    assert head_start(WORDS) is False


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["credit"],
        ["credit", "--reason"],
        ["credit", "--reason", " "],
        ["--reason", "r"],
        ["credit", "other", "--reason", "r"],
        ["credit", "--reason", "r", "--dry-run"],
    ],
)
def test_what_only_the_real_parser_understands_is_left_to_it(words: list[str]) -> None:
    assert order(words) is None


@pytest.mark.parametrize("words", [["m", "--reason=r"], ["--reason", "r", "m"], ["--json", "m", "--reason", "r"]])
def test_options_may_stand_anywhere(words: list[str]) -> None:
    assert order(words) == {"model": "m", "reason": "r"}


def test_nothing_heavy_is_imported_first() -> None:
    code = """
import sys
from gauntlet.cli.start import main
from gauntlet.cli.head_start import head_start
head_start(["m", "--reason", "r"])
heavy = {"typer", "rich", "pydantic", "sqlalchemy", "httpx", "mlflow", "pyarrow", "numpy", "asyncio"} & set(sys.modules)
assert not heavy, heavy
"""
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "include"), "GAUNTLET_HOME": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
