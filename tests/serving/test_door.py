"""Who may ask for predictions: by token, rotated while the server runs, so many times a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.serving.servers import MODEL, RunningServer, routing, running, wait_for

from gauntlet.serving import door as module
from gauntlet.serving.door import Door
from gauntlet.serving.http import Refused

PATHS = (f"/v1/models/{MODEL}/predict", "/predict", "/invocations", f"/v2/models/{MODEL}/infer")


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", f"Bearer {token}".encode())]


def status(door: Door, token: str = "t") -> int:
    try:
        door.admit(bearer(token))
    except Refused as refused:
        return refused.status
    return 200


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_without_file_and_rate_everybody_may() -> None:
    door = Door(None, None)
    assert door.wide_open
    assert {status(door) for _ in range(1000)} == {200}
    door.admit([])


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"")], bearer(""), bearer("no"), bearer("one two")])
def test_a_wrong_token_is_none(tmp_path: Path, headers: list[tuple[bytes, bytes]]) -> None:
    (tmp_path / "clients").write_text("# callers\nshop one\n\nbank two\nhalf\n")
    door = Door(tmp_path / "clients", None)
    assert (status(door, "one"), status(door, "two")) == (200, 200)
    assert not door.may(headers)
    with pytest.raises(Refused) as refused:
        door.admit(headers)
    assert (refused.value.status, refused.value.headers) == (401, [(b"www-authenticate", b"Bearer")])
    assert "one" not in str(refused.value).split()


def test_tokens_are_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token is compared, whichever it is, by the function that takes no shortcut."""
    (tmp_path / "clients").write_text("a one\nb two\nc three\n")
    door, compared = Door(tmp_path / "clients", None), []
    real = module.hmac.compare_digest
    monkeypatch.setattr(module.hmac, "compare_digest", lambda *both: compared.append(both) or real(*both))
    for token, client in (("one", "a"), ("three", "c"), ("nobody's", None)):
        compared.clear()
        assert door.client(bearer(token)) == client
        assert len(compared) == 3


def test_a_file_is_rotated_and_a_lost_one_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "clients"
    door = Door(file, None)
    assert status(door, "old") == 401
    file.write_text("shop old\n")
    door.refresh()
    assert status(door, "old") == 200
    (tmp_path / "new").write_text("shop old\nshop newer\n")
    (tmp_path / "new").replace(file)
    door.refresh()
    assert (status(door, "old"), status(door, "newer")) == (200, 200)
    file.unlink()
    door.refresh()
    assert (status(door, "old"), status(door, "newer")) == (401, 401)


def test_so_many_a_second_and_each_client_for_itself(tmp_path: Path, clock: list[float]) -> None:
    (tmp_path / "clients").write_text("shop one\nbank two\n")
    door = Door(tmp_path / "clients", 10.0)
    assert [status(door, "one") for _ in range(12)] == [200] * 10 + [429] * 2
    assert status(door, "two") == 200
    clock[0] += 0.5
    assert [status(door, "one") for _ in range(6)] == [200] * 5 + [429]
    clock[0] += 3600
    assert [status(door, "one") for _ in range(11)] == [200] * 10 + [429], "what is not used is not saved up"


def test_looking_takes_nothing_and_a_slow_rate_says_when_to_come_back(clock: list[float]) -> None:
    door = Door(None, 0.1)
    assert all(door.may([]) for _ in range(5))
    door.take([])
    assert not door.may([])
    with pytest.raises(Refused) as refused:
        door.admit([])
    assert (refused.value.status, refused.value.headers) == (429, [(b"retry-after", b"10")])
    clock[0] += 10
    assert door.may([])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, stable: Any) -> Any:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "clients").write_text("shop right\n")
    with running(folder, ready=False, workers=2, client_tokens=folder / "clients") as server:
        server.apply(routing(1, stable))
        yield server


def bodies(row: dict[str, Any]) -> dict[str, Any]:
    tensors = [
        {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "FP64", "data": [value]}
        for name, value in row.items()
        if value is not None
    ]
    return dict(
        zip(PATHS, ({"row": row}, {"rows": [row, row]}, {"dataframe_records": [row]}, {"inputs": tensors}), strict=True)
    )


@pytest.mark.parametrize("path", PATHS)
def test_every_protocol_wants_a_token(guarded: RunningServer, trained: Any, path: str) -> None:
    body = bodies(trained.rows[0])[path]
    for headers, expected in (
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer right"}, 200),
    ):
        answer = guarded.client.post(path, json=body, headers=headers)
        if expected == 401 or path != PATHS[3]:
            assert answer.status_code == expected, answer.text
        else:
            assert answer.status_code != 401
    assert guarded.client.post(path, json=body).headers["www-authenticate"] == "Bearer"


def test_probes_and_metrics_want_none(guarded: RunningServer) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert guarded.client.get(path).status_code == 200, path
    assert 'gauntlet_requests_total{model="m",protocol="native",status="401"}'.replace('"m"', f'"{MODEL}"') in (
        guarded.client.get("/metrics").text
    )


def test_a_token_is_rotated_while_the_server_runs(guarded: RunningServer, trained: Any) -> None:
    file = guarded.config.client_tokens
    assert file is not None

    def asked(token: str) -> set[int]:
        """Over several connections, so that both workers are asked."""
        codes = set()
        for _ in range(8):
            with type(guarded.client)(base_url=guarded.client.base_url, timeout=10) as client:
                headers = {"authorization": f"Bearer {token}"}
                codes.add(client.post("/predict", json={"row": trained.rows[0]}, headers=headers).status_code)
        return codes

    assert asked("right") == {200}
    (file.parent / "new").write_text("shop other\n")
    (file.parent / "new").replace(file)
    wait_for(lambda: asked("other") == {200}, 10)
    assert asked("right") == {401}
    (file.parent / "new").write_text("shop right\n")
    (file.parent / "new").replace(file)
    wait_for(lambda: asked("right") == {200}, 10)


def test_more_than_the_rate_is_told_to_come_back(tmp_path: Path, stable: Any, trained: Any) -> None:
    with running(tmp_path, ready=False, client_rate=5.0) as server:
        server.apply(routing(1, stable))
        answers = [server.predict(trained.rows[0]) for _ in range(30)]
        codes = [answer.status_code for answer in answers]
        assert codes[:5] == [200] * 5
        assert codes.count(429) >= 10
        late = next(answer for answer in answers if answer.status_code == 429)
        assert (late.headers["retry-after"], "5 requests per second" in late.json()["error"]) == ("1", True)
        assert server.client.get("/readyz").status_code == 200
