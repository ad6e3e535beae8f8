"""The little HTTP that a raw ASGI application needs: answers, bodies with a limit and a time budget."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from time import perf_counter_ns
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
TEXT = (b"content-type", b"text/plain; charset=utf-8")
encode = msgspec.json.Encoder().encode
_STARTS = [
    {"type": "http.response.start", "status": 200, "headers": [JSON, (b"content-length", b"%d" % length)]}
    for length in range(2048)
]


class Refused(Exception):
    """An answer that is not 200. ``detail`` is the JSON body."""

    def __init__(self, status: int, error: str, *, headers: Headers | None = None, **detail: Any) -> None:
        super().__init__(error)
        self.status = status
        self.detail = {"error": error, **detail}
        self.headers = headers or []


def start_of(body: bytes) -> MutableMapping[str, Any]:
    """The ASGI message that starts a 200 with this JSON body."""
    length = len(body)
    if length < len(_STARTS):
        return _STARTS[length]
    return {"type": "http.response.start", "status": 200, "headers": [JSON, (b"content-length", b"%d" % length)]}


_HEADS = [
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % length
    for length in range(2048)
]


def response(status: int, body: bytes, headers: Headers | None = None) -> bytes:
    """A whole response as it goes over the wire; without headers a JSON body."""
    length = len(body)
    if status == 200 and headers is None and length < len(_HEADS):
        return _HEADS[length] + body
    lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())]
    lines += [b"%b: %b" % header for header in headers or [JSON]]
    return b"\r\n".join([*lines, b"content-length: %d" % length, b"", body])


async def answer_json(send: Send, body: bytes) -> None:
    """200 with a JSON body."""
    await send(start_of(body))
    await send({"type": "http.response.body", "body": body})


async def answer(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Any answer."""
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class BodyReader:
    """Reads bodies: at most so many bytes, within so many seconds from the first to the last."""

    def __init__(self, max_bytes: int, budget_s: float) -> None:
        self._max, self._budget = max_bytes, budget_s
        self.reading: dict[asyncio.Task[Any] | None, int] = {}
        """Who is reading, since when."""
        self._late: set[asyncio.Task[Any]] = set()

    async def read(self, receive: Receive) -> bytes:
        """The whole body; :class:`Refused` with 413 or 408, :class:`ConnectionError` when the client left."""
        return await self.complete(receive, await self.first(receive, perf_counter_ns()))

    async def first(self, receive: Receive, now_ns: int) -> MutableMapping[str, Any]:
        """The first message, mostly all there is."""
        task = current_task()
        reading = self.reading
        reading[task] = now_ns
        try:
            return await receive()
        except asyncio.CancelledError:
            raise self.cancelled(task) from None
        finally:
            del reading[task]

    async def complete(self, receive: Receive, first: MutableMapping[str, Any]) -> bytes:
        """The whole body, from its first message on."""
        if first["type"] == "http.disconnect":
            raise ConnectionError
        body: bytes = first.get("body", b"")
        if first.get("more_body"):
            body = await self._more(receive, body)
        if len(body) > self._max:
            raise self._too_large()
        return body

    async def _more(self, receive: Receive, first: bytes) -> bytes:
        task = current_task()
        assert task is not None
        self.reading[task] = perf_counter_ns()
        try:
            return await self._rest(receive, first)
        except asyncio.CancelledError:
            raise self.cancelled(task) from None
        finally:
            del self.reading[task]

    def cancelled(self, task: asyncio.Task[Any] | None) -> BaseException:
        """What a cancelled read raises: 408 when its time was up, else the cancellation."""
        if task is None or task not in self._late:
            return asyncio.CancelledError()
        self._late.discard(task)
        task.uncancel()
        return Refused(408, f"the body did not arrive within {self._budget:g} s", headers=[_CLOSE])

    async def _rest(self, receive: Receive, first: bytes) -> bytes:
        parts, size, more = [first], len(first), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > self._max:
                raise self._too_large()
            more = message.get("more_body", False)
        return b"".join(parts)

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self._max} bytes; send fewer rows", headers=[_CLOSE])

    def expire(self) -> None:
        """Cancel reads that are over their budget; to be called every now and then."""
        limit = perf_counter_ns() - int(self._budget * 1e9)
        for task, began in list(self.reading.items()):
            if task is not None and began < limit and task not in self._late:
                self._late.add(task)
                task.cancel()


_CLOSE = (b"connection", b"close")
