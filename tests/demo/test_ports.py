from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from gauntlet.core.errors import InfrastructureError
from gauntlet.demo import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((ports.LOOPBACK, 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_a_taken_port_is_replaced_by_a_near_free_one_and_said(taken: int) -> None:
    chosen, notes = ports.choose({"mlflow": taken})
    assert taken < chosen["mlflow"] < taken + ports.TRIES
    assert len(notes) == 1
    assert f"port {taken} is taken by" in notes[0]
    assert f"process {os.getpid()}" in notes[0]


def test_two_parts_never_share_a_port() -> None:
    with socket.socket() as probe:
        probe.bind((ports.LOOPBACK, 0))
        free = int(probe.getsockname()[1])
    chosen, _ = ports.choose({"one": free, "two": free, "three": free})
    assert len(set(chosen.values())) == 3


def test_when_nothing_near_is_free_the_error_names_port_and_holder(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "TRIES", 1)
    with pytest.raises(InfrastructureError, match=f"airflow: port {taken} is taken by .*process {os.getpid()}"):
        ports.choose({"airflow": taken})


def test_a_port_nobody_listens_on_has_no_known_holder() -> None:
    assert ports.holder(1) == "another program"
