"""Who may ask for predictions, and how often: tokens from a file, and requests per second of each client.

Without a file everybody may (a proxy in front decides), without a rate as often as they like; both then cost nothing.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable
from pathlib import Path
from time import monotonic

from gauntlet.serving.http import Refused

BEARER = b"Bearer "
ANYBODY = ""
Headers = Iterable[tuple[bytes, bytes]]


class Door:
    """Tokens in force now, and what each client has left of its rate.

    A line of the file is ``name token``. Replace the file to rotate: it is looked at by :meth:`refresh`, nothing is
    restarted. Two lines may have the same name, so that the old token lives on while callers change over. A file that
    cannot be read lets nobody in.
    """

    def __init__(self, tokens: Path | None, rate: float | None, burst_s: float = 1.0) -> None:
        """``rate``: requests per second of one client; ``burst_s``: so many seconds' worth may come at once."""
        self._file, self._rate = tokens, rate
        self._most = max(1.0, (rate or 0.0) * burst_s)
        self._left: dict[str, tuple[float, float]] = {}
        self._tokens: list[tuple[str, bytes]] = []
        self._seen: tuple[int, int, int] | None = None
        self.wide_open = tokens is None and rate is None
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it is another one."""
        if self._file is None:
            return
        try:
            about = os.stat(self._file)  # noqa: PTH116 - twice a second in every worker
            seen = (about.st_mtime_ns, about.st_ino, about.st_size)
            if seen != self._seen:
                lines = [line.split() for line in self._file.read_text().splitlines() if not line.startswith("#")]
                self._tokens = [(line[0], BEARER + line[1].encode()) for line in lines if len(line) == 2]
                self._seen = seen
        except (OSError, UnicodeDecodeError):
            self._tokens, self._seen = [], None

    def client(self, headers: Headers) -> str | None:
        """Who asks; ``None``: nobody we know. Every token is compared, in a time that does not depend on its bytes."""
        if self._file is None:
            return ANYBODY
        given = next((value for name, value in headers if name == b"authorization"), b"")
        found = None
        for name, token in self._tokens:
            if hmac.compare_digest(given, token):
                found = name
        return found

    def may(self, headers: Headers) -> bool:
        """Whether a request would be let in; takes nothing from the client's rate."""
        who = self.client(headers)
        return who is not None and (self._rate is None or self._has(who, monotonic()) >= 1.0)

    def take(self, headers: Headers) -> None:
        """Let a request in that :meth:`may` come in."""
        if self._rate is not None and (who := self.client(headers)) is not None:
            now = monotonic()
            self._left[who] = (self._has(who, now) - 1.0, now)

    def admit(self, headers: Headers) -> None:
        """Let a request in; :class:`Refused` with 401 or 429 where it may not."""
        who = self.client(headers)
        if who is None:
            raise Refused(
                401,
                "predictions want a token: Authorization: Bearer ...",
                headers=[(b"www-authenticate", b"Bearer")],
            )
        if self._rate is None:
            return
        now = monotonic()
        left = self._has(who, now)
        if left < 1.0:
            wait = max(1, round((1.0 - left) / self._rate))
            raise Refused(
                429,
                f"more than {self._rate:g} requests per second; come back in {wait} s",
                headers=[(b"retry-after", b"%d" % wait)],
            )
        self._left[who] = (left - 1.0, now)

    def _has(self, who: str, now: float) -> float:
        """A token bucket: what was left, and what has come in since."""
        left, at = self._left.get(who, (self._most, now))
        return min(self._most, left + (now - at) * (self._rate or 0.0))
