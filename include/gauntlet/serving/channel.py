"""The control channel between supervisor and worker: JSON lines over a socket pair, with answers by number."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Any

LIMIT = 64 << 20
"""Longest line: a command carries rows for predict-with-version."""
Command = Callable[[str, dict[str, Any]], Awaitable[Any]]
Event = Callable[[dict[str, Any]], None]


class Refusal(Exception):
    """The other side answered that it will not."""


class Gone(Exception):
    """The other side is not there any more, or did not answer in time."""


class Channel:
    """One end. Both ends may ask, answer and tell."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: Command, event: Event):
        """``command`` answers what the other side asks, ``event`` takes what it tells."""
        self._reader, self._writer = reader, writer
        self._command, self._event = command, event
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self.closed = False
        """Whether the other side has gone."""

    @classmethod
    async def open(cls, sock: socket.socket, command: Command, event: Event) -> Channel:
        """Take over a connected socket."""
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=sock, limit=LIMIT)
        return cls(reader, writer, command, event)

    async def ask(self, operation: str, timeout_s: float, **arguments: Any) -> Any:
        """Have the other side do something; :class:`Refusal` with its reason, :class:`Gone` without answer."""
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self._send({"ask": number, "op": operation, "arguments": arguments})
            return await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            raise Gone(f"no answer to {operation} within {timeout_s:g} s") from None
        finally:
            self._asked.pop(number, None)

    def tell(self, **event: Any) -> None:
        """Tell the other side something; it may be gone."""
        with suppress(Gone):
            self._send({"event": event})

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer.is_closing():
            raise Gone("the other side has gone")
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def run(self) -> None:
        """Serve until the other side goes."""
        try:
            while line := await self._reader.readline():
                self._receive(json.loads(line))
        except (ConnectionError, ValueError):
            pass
        finally:
            self.closed = True
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(Gone("the other side has gone"))
            self._writer.close()

    def _receive(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._event(message["event"])
        elif "ask" in message:
            task = asyncio.get_running_loop().create_task(self._serve(message))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        elif (future := self._asked.get(message["answer"])) is not None and not future.done():
            if "error" in message:
                future.set_exception(Refusal(message["error"]))
            else:
                future.set_result(message["result"])

    async def _serve(self, message: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"answer": message["ask"]}
        try:
            answer["result"] = await self._command(message["op"], message["arguments"])
        except Exception as error:  # the other side must hear of every failure
            answer["error"] = f"{error}" or type(error).__name__
        with suppress(Gone):
            self._send(answer)
