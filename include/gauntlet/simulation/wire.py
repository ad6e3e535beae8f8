"""One keep-alive HTTP/1.1 connection, just enough to post JSON to our own model server.

A full client costs over a millisecond of CPU per request, more than the server it talks to; on a
small machine the traffic generator would compete with what it is there to exercise.
"""

from __future__ import annotations

import asyncio
import contextlib

LONGEST_HEAD = 64 * 1024
FAILURES = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError)
"""What :meth:`Wire.post` raises when the server cannot be reached or does not speak HTTP."""


class Wire:
    """A connection that is opened when needed and opened again after a failure."""

    def __init__(self, host: str, port: int, path: str, timeout_s: float) -> None:
        self._address = host, port
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: "
        ).encode()
        self._timeout_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; one of :data:`FAILURES` when there is none in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(body)
        except FAILURES:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection; the next post opens a new one."""
        streams, self._streams = self._streams, None
        if streams:
            streams[1].close()
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()

    async def _exchange(self, body: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=LONGEST_HEAD)
        reader, writer = self._streams
        writer.write(self._head + str(len(body)).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        status, headers = _parse((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        content = await _content(reader, headers)
        if headers.get("connection") == "close":
            await self.close()
        return status, content


def _parse(head: str) -> tuple[int, dict[str, str]]:
    """Status and lower-case headers of an answer's head."""
    first, *lines = head.strip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split(" ", 2)[1]), {name.strip().lower(): value.strip().lower() for name, _, value in pairs}


async def _content(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers["content-length"])) if "content-length" in headers else b""
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)
