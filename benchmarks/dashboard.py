"""Load of the page inside Airflow, server side, over a store with 1 000 nights of 200 features.

Every request that the page makes is sent to its real application over a real SQLite store, in this process (no
network, Airflow's own check of the login left out): first what it asks for when it is opened, then every view with all
nights. The store holds what the pipeline writes: per night a drift report with three statistics per feature, 20 gate
receipts, and all that goes with them. MLflow is asked by a request of its own, which nothing waits for, and not here.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from fastapi import Depends, Request
from report import Aim, arguments, at_most, print_table, write_json

ROOT = Path(__file__).parents[1]
MODEL = "credit_default"
GATES = 20
ROUNDS = 5
Asked = tuple[str, str]


def requests(nights: int) -> tuple[list[Asked], list[Asked]]:
    """What the page asks for when it is opened, and what its other views ask for with all nights."""
    one = f"/api/models/{MODEL}"
    opened = [("page", "/"), ("models", "/api/models"), ("head", one), ("nights", f"{one}/nights?limit=60")]
    views = [
        ("gates of a run", f"{one}/runs/{{run}}"),
        (f"drift map, {nights} nights", f"{one}/drift?nights={nights}"),
        ("one feature", f"{one}/runs/{{run}}/features/feature_000"),
        (f"metrics, {nights} nights", f"{one}/trend?nights={nights}"),
        ("canaries", f"{one}/rollouts"),
        ("one canary", f"{one}/rollouts/{{rollout}}"),
        ("alerts", f"{one}/alerts"),
        ("audit", f"{one}/audit?kind=decisions"),
    ]
    return opened, views


def enter(request: Request) -> None:
    """Everybody is an administrator here."""
    from gauntlet import views

    request.state.person = views.Person("bench", ("admin",))


class OneTransaction:
    """A record store that writes everything at once: a commit to disk per record would take the longest here."""

    def __init__(self, connection: Any, clock: Any) -> None:
        """A connection inside a write transaction."""
        self._connection, self._clock = connection, clock

    def put(self, run_key: str, record: Any, name: str = "") -> None:
        """Store a record, with its audit entry."""
        from gauntlet.adapters.store_records import put_record

        put_record(self._connection, self._clock, run_key, record, name, "history")


def build(home: Path, nights: int, features: int) -> tuple[Callable[[str], bytes], str, str]:
    """Write the past, start the application; a function that answers an address, the last run, its rollout."""
    import os

    os.environ["GAUNTLET_HOME"] = str(home)
    os.environ["GAUNTLET_MODELS"] = str(ROOT / "include" / "models")
    os.environ.setdefault("CREDIT_DEFAULT_DATA", str(home))
    from fastapi.testclient import TestClient

    from gauntlet.adapters.store_sql import open_store
    from gauntlet.bootstrap import services, settings
    from gauntlet.simulation.history import Past, run_name, write_nights, write_rollout
    from gauntlet.web.app import create_app

    found = services()
    spec = found.specs.get(MODEL)
    past = Past(MODEL, nights, features, spec.gates.names[:GATES], spec.digest)
    store = open_store(settings().database, clock=found.clock)
    with store.database.write() as connection:
        write_nights(OneTransaction(connection, found.clock), past)
    write_rollout(found.records, found.routing, past)

    client = TestClient(create_app([Depends(enter)]))

    def answer(path: str) -> bytes:
        response = client.get(path)
        assert response.status_code == 200, f"{path}: {response.status_code} {response.text[:300]}"
        return response.content

    return answer, run_name(nights - 1), f"{MODEL}-v{nights}"


def timed(answer: Callable[[str], bytes], path: str) -> tuple[float, float, int]:
    """Seconds by the clock, seconds of CPU, bytes."""
    wall, cpu = time.perf_counter(), time.process_time()
    size = len(answer(path))
    return time.perf_counter() - wall, time.process_time() - cpu, size


def main() -> int:
    """Measure and report."""
    options = arguments(__doc__ or "").parse_args()
    nights, features = (60, 30) if options.quick else (1000, 200)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        began = time.perf_counter()
        answer, run, rollout = build(Path(folder), nights, features)
        print(f"wrote {nights} nights x {features} features in {time.perf_counter() - began:.0f} s")
        opened, views = requests(nights)
        rows, totals, firsts = [], {"opening": 0.0, "views": 0.0}, 0.0
        for group, wanted in (("opening", opened), ("views", views)):
            for name, pattern in wanted:
                path = pattern.format(run=run.replace("+", "%2B"), rollout=rollout)
                first = timed(answer, path)[0]
                taken = [timed(answer, path) for _ in range(ROUNDS)]
                wall = median(one[0] for one in taken)
                totals[group] += wall
                firsts += first
                cpu = median(one[1] for one in taken)
                rows.append({
                    "request": name,
                    "ms": f"{1000 * wall:.1f}",
                    "CPU ms": f"{1000 * cpu:.1f}",
                    "first ms": f"{1000 * first:.1f}",
                    "kB": f"{taken[0][2] / 1000:.0f}",
                })
    print_table(f"Requests of the page, {nights} nights x {features} features", rows)
    aims: list[Aim] = [
        at_most("opening the page, seconds on the server", 1.0, totals["opening"]),
        at_most("opening it and then every view with all nights, seconds on the server", 1.0, sum(totals.values())),
    ]
    print(f"  the very first time, imports and empty caches included: {firsts:.2f} s")
    write_json(aims, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
