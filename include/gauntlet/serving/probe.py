"""Load a release in a process that may die of it: ``python -m gauntlet.serving.probe FOLDER SERVED``.

Prints one JSON object of what was measured, or ``{"refused": reason}``. If the model kills the process,
the caller sees the signal.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from gauntlet.core.errors import GauntletError
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.native.lightgbm import library
from gauntlet.serving.loader import ACCEPT_ALL, LoadedVersion, golden_mismatch, load, read_release

CALLS = 2000


def probe(folder: Path, served: ServedVersion) -> dict[str, Any]:
    """Verify, load, score the golden rows, measure."""
    library()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    version = load(read_release(folder, served))
    seconds = time.perf_counter() - began
    predictor = version.predictor()
    if mismatch := golden_mismatch(version, predictor):
        return {"refused": mismatch}
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    measured = _latency(version)
    version.close()
    return {
        "version_id": served.version_id,
        "features": len(version.sidecar.features),
        "golden_rows": len(version.golden.rows),
        "load_seconds": round(seconds, 4),
        "memory_mb": round(grown_kb / 1024, 1),
        **measured,
    }


def _latency(version: LoadedVersion) -> dict[str, float]:
    encoder, predictor = version.encoder(ACCEPT_ALL), version.predictor()
    rows: list[dict[str, Any]] = [dict(row) for row in version.golden.rows]
    times = []
    for call in range(CALLS):
        began = time.perf_counter_ns()
        predictor.predict(encoder.checked(rows[call % len(rows)], []))
        times.append((time.perf_counter_ns() - began) / 1e6)
        if sum(times[:1]) * CALLS > 10_000 and call >= 20:
            break
    times.sort()
    return {"p50_ms": round(times[len(times) // 2], 4), "p99_ms": round(times[int(len(times) * 0.99)], 4)}


def main() -> None:
    """Entry point of the process."""
    folder, served = Path(sys.argv[1]), ServedVersion.model_validate_json(sys.argv[2])
    try:
        result = probe(folder, served)
    except (GauntletError, ValueError) as error:
        result = {"refused": str(error)}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
