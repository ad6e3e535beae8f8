"""The audit log as a file of JSON lines beside the database: a projection, repaired when it is behind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from gauntlet.core.audit import from_line, to_line
from gauntlet.core.ports import AuditEntry

TAIL = 1 << 16


class Mirror:
    """Appends what the file lacks. Several processes may do so at once: the file itself is the lock."""

    def __init__(self, path: Path, after: Callable[[int], Iterable[AuditEntry]]) -> None:
        """``after(n)`` gives the committed entries with a sequence above ``n``, in order."""
        self.path = path
        self._after = after

    def catch_up(self) -> int:
        """Write the entries the file lacks, dropping a torn last line first; how many were written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            missing = "".join(to_line(entry) for entry in self._after(_last_sequence(file)))
            file.seek(0, os.SEEK_END)
            file.write(missing.encode())
        return missing.count("\n")


def read_mirror(path: Path) -> list[AuditEntry]:
    """The entries of a mirror file in file order; a torn last line is left out."""
    text = path.read_bytes().decode("utf-8", "replace")
    # Not splitlines(): it would also split at U+2028 and its like, which may stand in a reason.
    return [from_line(line) for line in text.split("\n")[:-1]]


def _last_sequence(file: BinaryIO) -> int:
    """The sequence of the last whole line; cuts off what follows it."""
    end = file.seek(0, os.SEEK_END)
    size = TAIL
    while True:
        start = max(end - size, 0)
        file.seek(start)
        tail = file.read(end - start)
        lines = tail[: tail.rfind(b"\n") + 1].splitlines()
        if len(lines) > 1 or start == 0:
            break
        size *= 2
    if not tail.endswith(b"\n"):
        file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
    return from_line(lines[-1].decode()).sequence if lines else 0
