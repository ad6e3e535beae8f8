"""Uvicorn's HTTP protocol with a short way for requests that arrive in one piece, as nearly all do.

A POST to one of a few known paths whose body comes with its head is answered in the callback that ends it: bytes to
bytes, without scope, task, event and the two messages of an ASGI answer, which cost more than scoring a row does.
Everything else (a body in pieces, a pipelined neighbour under way, a client that is slow to read, ``Expect``, HTTP/1.0,
``Connection: close``) goes the way of uvicorn and ASGI, and so does whatever the short way declines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gauntlet.serving.door import Door

Whole = Callable[[bytes], bytes | None]
"""A body to the bytes of the response; ``None``: declined, and nothing has been done."""


def direct_protocol(routes: Mapping[str, Whole], door: Door | None = None) -> type[HttpToolsProtocol]:
    """A protocol class for ``uvicorn.Config(http=...)`` with these paths on the short way.

    Whom ``door`` would not let in is refused on the long way.
    """
    whole = {path.encode(): work for path, work in routes.items()}
    guard = None if door is None or door.wide_open else door
    return type("DirectProtocol", (_Direct,), {"_routes": whole, "_door": guard})


class _Direct(HttpToolsProtocol):
    _routes: Mapping[bytes, Whole]
    _door: Door | None = None
    _work: Whole | None = None
    _body = b""

    def on_message_begin(self) -> None:
        # The scope is made when the long way needs it.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        work = self._routes.get(self.url)
        if work is not None and self._may_be_direct() and (self._door is None or self._door.may(self.headers)):
            self._work, self._body = work, b""
        else:
            self._begin()

    def _may_be_direct(self) -> bool:
        parser, cycle = self.parser, self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and not self.expect_100_continue
            and not self.flow.write_paused
            and parser.get_method() == b"POST"
            and parser.should_keep_alive()
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
        )

    def on_body(self, body: bytes) -> None:
        if self._work is None:
            super().on_body(body)
        else:
            self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        work, self._work = self._work, None
        if work is None:
            super().on_message_complete()
        elif (reply := work(self._body)) is None:
            self._take_the_long_way()
            super().on_message_complete()
        else:
            if self._door is not None:
                self._door.take(self.headers)
            self.transport.write(reply)
            self.on_response_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._work is not None:
            # The rest of the body is still to come: its time is watched on the long way.
            self._work = None
            self._take_the_long_way()

    def _take_the_long_way(self) -> None:
        body, self._body = self._body, b""
        self._begin()
        if body:
            super().on_body(body)

    def _begin(self) -> None:
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()
