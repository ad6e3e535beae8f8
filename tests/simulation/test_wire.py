from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gauntlet.simulation.wire import FAILURES, Wire

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


def exchange(answers: list[bytes], posts: int, timeout_s: float = 2.0) -> tuple[list[object], list[bytes], int]:
    """Post to a server that gives these raw answers in turn; results, what it read, and how often it was connected."""
    heard: list[bytes] = []
    talks: list[bytes] = []
    connected = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        while len(heard) < len(answers):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            heard.append(await reader.readexactly(length))
            writer.write(answers[len(heard) - 1])
            await writer.drain()
            if b"hang up" in answers[len(heard) - 1]:
                break
        if heard and not answers[len(heard) - 1]:
            await reader.read()
        writer.close()
        await writer.wait_closed()
        talks.append(b"over")

    async def scene() -> list[object]:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        wire = Wire("127.0.0.1", port, "/p", timeout_s)
        results: list[object] = []
        for number in range(posts):
            try:
                results.append(await wire.post(b"body %d" % number))
            except FAILURES as error:
                results.append(type(error).__name__)
        await wire.close()
        while len(talks) < connected:
            await asyncio.sleep(0.01)
        server.close()
        return results

    return asyncio.run(scene()), heard, connected


def answer(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), more, body)


def test_one_connection_serves_many_posts() -> None:
    results, heard, connected = exchange([answer(b"one"), answer(b"two")], 2)
    assert results == [(200, b"one"), (200, b"two")]
    assert heard == [b"body 0", b"body 1"]
    assert connected == 1


def test_a_chunked_answer_is_put_together() -> None:
    raw = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert exchange([raw, answer(b"next")], 2)[0] == [(503, b"abcde"), (200, b"next")]


def test_a_server_that_closes_is_connected_again() -> None:
    results, _, connected = exchange([answer(b"one", b"Connection: close\r\n"), answer(b"two")], 2)
    assert results == [(200, b"one"), (200, b"two")]
    assert connected == 2


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nX: hang up\r\n\r\nshort", "IncompleteReadError"),
        (b"what? hang up\r\n\r\n", "ValueError"),
    ],
)
def test_an_answer_that_is_none_is_a_failure_and_the_next_post_connects_anew(raw: bytes, error: str) -> None:
    results, _, connected = exchange([raw, answer(b"two")], 2)
    assert results == [error, (200, b"two")]
    assert connected == 2


def test_silence_ends_in_a_timeout() -> None:
    assert exchange([b""], 1, timeout_s=0.1)[0] == ["TimeoutError"]


def test_nobody_there() -> None:
    with pytest.raises(FAILURES):
        asyncio.run(Wire("127.0.0.1", 1, "/", 1.0).post(b"x"))
