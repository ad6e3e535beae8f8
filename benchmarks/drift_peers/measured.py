"""CPU, wall and memory of a block; imports nothing but the standard library, so that it runs in any environment."""

from __future__ import annotations

import json
import resource
import time
from contextlib import suppress
from pathlib import Path


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Measured:
    """Prints what the block cost as one JSON line; the peak is what it added to the process."""

    def __init__(self, **more: object) -> None:
        self.result: dict[str, object] = dict(more)

    def __enter__(self) -> dict[str, object]:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before, self._cpu, self._wall = _peak_mb(), time.process_time(), time.perf_counter()
        return self.result

    def __exit__(self, kind: object, *_: object) -> None:
        self.result["cpu_s"] = time.process_time() - self._cpu
        self.result["wall_s"] = time.perf_counter() - self._wall
        self.result["peak_mb"] = max(_peak_mb() - self._before, 0.0)
        if kind is None:
            print(json.dumps(self.result))
