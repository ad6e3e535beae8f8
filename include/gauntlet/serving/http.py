"""The little HTTP that a raw ASGI application needs: answers, bodies with a limit and a time budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
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


async def answer_json(send: Send, body: bytes) -> None:
    """200 with a JSON body."""
    length = len(body)
    if length < len(_STARTS):
        await send(_STARTS[length])
    else:
        headers = [JSON, (b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
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
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()

    async def read(self, receive: Receive) -> bytes:
        """The whole body; :class:`Refused` with 413 or 408, :class:`ConnectionError` when the client left."""
        task = asyncio.current_task()
        assert task is not None
        self._reading[task] = time.monotonic()
        try:
            message = await receive()
            body: bytes = message.get("body", b"")
            if message.get("more_body"):
                body = await self._rest(receive, body)
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            self._late.discard(task)
            task.uncancel()
            raise Refused(408, f"the body did not arrive within {self._budget:g} s", headers=[_CLOSE]) from None
        finally:
            del self._reading[task]
        if message["type"] == "http.disconnect":
            raise ConnectionError
        if len(body) > self._max:
            raise self._too_large()
        return body

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
        limit = time.monotonic() - self._budget
        for task, began in list(self._reading.items()):
            if began < limit and task not in self._late:
                self._late.add(task)
                task.cancel()


_CLOSE = (b"connection", b"close")
