"""Memory that all workers of one server see: the words that say "read the routing again", and counters.

Both are memory-mapped files, so they outlive any single process: a killed worker's counts stay counted.
An aligned 8-byte store is atomic on the platforms that LightGBM has wheels for.
"""

from __future__ import annotations

import mmap
import re
import struct
import threading
from collections.abc import Collection, Iterable
from hashlib import blake2b
from pathlib import Path

WORD = 8
GENERATION, TRIPPED = 0, 1
WORDS_PER_MODEL = 2


def _map(path: Path, size: int) -> mmap.mmap:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.seek(0, 2) < size:
            file.truncate(size)
        return mmap.mmap(file.fileno(), size)


class ControlWords:
    """Two words per model: the routing's generation, and the mark of the canary whose breaker tripped.

    A worker compares both with what it has seen on every request, at some 50 ns each.
    """

    def __init__(self, path: Path, models: Iterable[str]) -> None:
        """Map the words of these models; every process must name the same ones."""
        self.slots = {model: index * WORDS_PER_MODEL for index, model in enumerate(sorted(models))}
        self._map = _map(path, max(len(self.slots) * WORDS_PER_MODEL * WORD, WORD))
        self.words = memoryview(self._map).cast("Q")

    def bump(self, model: str) -> None:
        """Tell every worker to read this model's routing again. Only the supervisor does."""
        slot = self.slots[model] + GENERATION
        self.words[slot] = (self.words[slot] + 1) & (2**64 - 1)

    def trip(self, model: str, mark: int) -> None:
        """Take the canary with this mark out of traffic in every worker, at once."""
        self.words[self.slots[model] + TRIPPED] = mark

    def tripped(self, model: str) -> int:
        """The mark of the canary that is out; 0: none."""
        return self.words[self.slots[model] + TRIPPED]

    def close(self) -> None:
        """Unmap."""
        self.words.release()
        self._map.close()


def canary_mark(rollout: str | None, version_id: str) -> int:
    """A non-zero word for one canary of one rollout: a trip holds until another one comes."""
    digest = blake2b(f"{rollout}\0{version_id}".encode(), digest_size=WORD).digest()
    return int.from_bytes(digest, "big") | 1


KEY = 248
ENTRY = KEY + WORD
READ_AT_ONCE = 512
CAPACITY = 32_768
"""Places of a slot's file, which is sparse: a version of 30 features takes some 300 of them in each arm."""
OVERFLOWED = "gauntlet_counters_overflowed_total"
VERSION = re.compile(r'[{,]version="([^"]*)"')


class Counters:
    """Named counters of one worker slot, in a file that others can read while it counts.

    A worker that takes over a slot goes on from its predecessor's counts, so sums never fall.
    """

    def __init__(self, path: Path, capacity: int = CAPACITY) -> None:
        """Map the counters of one slot, made where there are none."""
        self._map = _map(path, capacity * ENTRY)
        self._values = memoryview(self._map).cast("Q")
        self._capacity = capacity
        self._index = {key: place for place, key in enumerate(_keys(self._map, capacity))}
        self._making = threading.Lock()

    @property
    def values(self) -> memoryview:
        """All words; add to those at the places that :meth:`place` names."""
        return self._values

    def place(self, key: str) -> int:
        """Index into :attr:`values` of a counter, made on first use."""
        known = self._index.get(key)
        if known is None:
            known = self._make(key)
        return (known + 1) * ENTRY // WORD - 1

    def add(self, key: str, amount: int = 1) -> None:
        """Count."""
        self._values[self.place(key)] += amount

    def _make(self, key: str) -> int:
        # Labels come from configuration, versions and feature names only, but a full table must not
        # take the server down: what no longer fits is counted under one last name.
        with self._making:  # The journal's thread counts too.
            if key in self._index:
                return self._index[key]
            name = key.encode()[:KEY]
            place = len(self._index)
            if place >= self._capacity - 1:
                place, name = self._capacity - 1, OVERFLOWED.encode()
            self._map[place * ENTRY : place * ENTRY + KEY] = name.ljust(KEY, b"\0")
            self._index[key] = place
            return place

    def close(self) -> None:
        """Unmap."""
        self._values.release()
        self._map.close()


def _keys(content: mmap.mmap | bytes, capacity: int) -> Iterable[str]:
    for place in range(capacity):
        key = bytes(content[place * ENTRY : place * ENTRY + KEY]).rstrip(b"\0")
        if not key:
            return
        yield key.decode(errors="replace")


def read_counters(path: Path) -> dict[str, int]:
    """All counters of a slot's file, as they are now."""
    found: dict[str, int] = {}
    with path.open("rb") as file:
        # No further than there are counters: most of the file is a hole.
        while block := file.read(READ_AT_ONCE * ENTRY):
            keys = list(_keys(block, len(block) // ENTRY))
            for place, key in enumerate(keys):
                found[key] = struct.unpack_from("=Q", block, place * ENTRY + KEY)[0]
            if len(keys) < READ_AT_ONCE:
                break
    return found


def forget_versions(path: Path, known: Collection[str]) -> int:
    """Take out of a slot's file what was counted of versions that are not known any more; how many counters that were.

    What overflowed is forgotten where there is room again. Called before the slot's worker counts. Whoever reads
    meanwhile has the old file or the new one: a sum that fell and rose again would look like a burst of requests.
    """
    if not path.exists():
        return 0
    counted = read_counters(path)
    kept = {key: value for key, value in counted.items() if not _is_forgotten(key, known)}
    if len(kept) < CAPACITY - 1:
        kept.pop(OVERFLOWED, None)
    if len(kept) < len(counted):
        temporary = path.with_suffix(".tmp")
        entries = (key.encode().ljust(KEY, b"\0") + struct.pack("=Q", value) for key, value in kept.items())
        temporary.write_bytes(b"".join(entries))
        temporary.replace(path)
    return len(counted) - len(kept)


def _is_forgotten(key: str, known: Collection[str]) -> bool:
    version = VERSION.search(key)
    return version is not None and version[1] not in known
