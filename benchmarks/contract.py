"""What the data contract costs: 1M rows x 50 columns, about 150 expectations, judged by Great Expectations.

Side by side, in CPU-seconds of this process: the contract as the pipeline runs it; the floor, which is the same
conditions as one hand-written DuckDB query; and Great Expectations on pandas, at both sizes.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "include"))

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from report import Aim, arguments, at_least, at_most, print_table, write_json

from gauntlet.adapters.contract_gx import GreatExpectationsContract, _quiet
from gauntlet.adapters.contract_suite import build_checks
from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.spec import ModelSpec

NUMBERS, WORDS = 36, 10
VALUES = [f"v{i}" for i in range(12)]
AS_OF = datetime(2025, 1, 1, tzinfo=UTC)


def snapshot(rows: int, path: Path) -> DatasetRef:
    """50 columns: key, time, label, row key, 36 numbers and 10 categories; a third of the numbers with 2 % nulls."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "row_key": pa.array(rng.permutation(rows).astype(np.uint64)),
        "id": pa.array(np.arange(rows)),
        "at": pa.array(
            np.datetime64(AS_OF.replace(tzinfo=None), "us") - np.arange(rows)[::-1] * np.timedelta64(20, "s")
        ).cast(pa.timestamp("us", tz="UTC")),
        "label": pa.array((rng.random(rows) < 0.1).astype(np.int8)),
    }
    for i in range(NUMBERS):
        columns[f"x{i}"] = pa.array(rng.normal(size=rows), mask=rng.random(rows) < (0.02 if i % 3 == 0 else 0))
    for i in range(WORDS):
        columns[f"c{i}"] = pa.array(np.array(VALUES)[rng.integers(0, len(VALUES), rows)]).dictionary_encode()
    table = pa.table(columns)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    return DatasetRef(
        uri=str(path),
        sha256="0" * 64,
        rows=rows,
        columns=tuple(table.column_names),
        size_bytes=path.stat().st_size,
        first_event=None,
        last_event=AS_OF,
        as_of=AS_OF,
        window_start=None,
        window_end=AS_OF,
        query="",
        source_columns=tuple(table.column_names),
    )


def spec(broken: int = 0) -> ModelSpec:
    """A spec whose contract says three things of every number and three of every category."""
    numbers = [f"x{i}" for i in range(NUMBERS)]
    words = [f"c{i}" for i in range(WORDS)]
    contract: dict[str, Any] = {
        name: {"max_null": 0.05, "minimum": -8, "maximum": -7 if i < broken else 8, "mean": [-1, 1]}
        for i, name in enumerate(numbers)
    }
    contract |= {name: {"values": VALUES, "regex": "^v[0-9]+$"} for name in words}
    return ModelSpec.model_validate({
        "model": "bench",
        "task": "binary",
        "owner": {"team": "bench", "email": "bench@example.org"},
        "schedule": {},
        "source": {
            "kind": "files",
            "uri": "bench.parquet",
            "columns": {"key": "id", "event_time": "at", "label": "label"},
            "features": {"numeric": numbers, "categorical": words},
        },
        "contract": {"rows": [1, None], "freshness": "1d", "columns": contract, "unique_together": [["id", "at"]]},
        "split": {"kind": "time"},
        "training": {},
        "drift": {"window": "7d"},
        "gates": dict.fromkeys(GATES, "off: nothing is trained here"),
        "rollout": {"steps": [{"weight": 100, "hold": "1m", "requests": 1}]},
    })


def floor(path: Path) -> None:
    """The same conditions as one query, without any framework."""
    items = ["count(*)", "count(DISTINCT id)", 'max("at")::VARCHAR']
    for i in range(NUMBERS):
        name = f"x{i}"
        items += [f"count({name})", f"count(*) FILTER ({name} NOT BETWEEN -8 AND 8)", f"avg({name})"]
    listed = ", ".join(f"'{value}'" for value in VALUES)
    for i in range(WORDS):
        name = f"c{i}"
        items += [f"count({name})", f"count(*) FILTER ({name} NOT IN ({listed}))"]
        items += [f"count(*) FILTER (NOT regexp_matches({name}, '^v[0-9]+$'))"]
    with duckdb.connect() as connection:
        connection.execute(f"SELECT {', '.join(items)} FROM read_parquet('{path}')").fetchall()


def pandas_peer(dataset: DatasetRef, path: Path) -> None:
    """The same expectations with GX on a pandas frame, yes or no only; reading the file is counted."""
    import pandas as pd
    from great_expectations.core.batch import Batch
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.validator.validator import Validator

    frame = pd.read_parquet(path)
    frame["at"] = frame["at"].dt.tz_localize(None)
    validator = Validator(execution_engine=PandasExecutionEngine(), batches=[Batch(data=frame)])
    validator.metrics_calculator.show_progress_bars = False
    checks = build_checks(spec(), dataset)
    kept = [check.expectation.configuration for check in checks if "TypeList" not in type(check.expectation).__name__]
    answers = validator.graph_validate(
        configurations=kept, runtime_configuration={"result_format": {"result_format": "BOOLEAN_ONLY"}}
    )
    failed = [answer.expectation_config.type for answer in answers if not answer.success]
    if failed:
        print(f"  (GX on pandas says otherwise: {sorted(set(failed))})")


def cost(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """CPU-seconds, wall-clock seconds and the result."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def row(what: str, rows: int, cpu: float, wall: float, expectations: object) -> dict[str, object]:
    """One line of the table."""
    peak = getrusage(RUSAGE_SELF).ru_maxrss // 1024
    return {
        "what": what,
        "rows": f"{rows:,}",
        "expectations": expectations,
        "CPU s": f"{cpu:.2f}",
        "wall s": f"{wall:.2f}",
        "peak MB so far": peak,
    }


def main() -> None:
    """Measure, print, write."""
    options = arguments(__doc__ or "").parse_args()
    rows = 100_000 if options.quick else 1_000_000
    table: list[dict[str, object]] = []
    with TemporaryDirectory() as folder, warnings.catch_warnings(), _quiet():
        page = Path(folder) / "page.html"
        path = Path(folder) / "snapshot.parquet"
        dataset = snapshot(rows, path)
        engine = GreatExpectationsContract(memory_mb=512)
        cpu, wall, _ = cost(lambda: __import__("gauntlet.adapters.gx_duckdb"))
        table.append(row("importing Great Expectations, once", 0, cpu, wall, ""))
        floor_cpu, wall, _ = cost(lambda: floor(path))
        table.append(row("floor: one DuckDB query", rows, floor_cpu, wall, "same conditions"))
        ours, wall, report = cost(lambda: engine.check(spec(), dataset, path, page))
        table.append(row("contract, all holds", rows, ours, wall, report.evaluated))
        broken, wall, bad = cost(lambda: engine.check(spec(broken=12), dataset, path, page))
        table.append(row("contract, 12 fail, with examples", rows, broken, wall, bad.evaluated))
        peer, wall, _ = cost(lambda: pandas_peer(dataset, path))
        table.append(row("GX on pandas, yes or no only", rows, peer, wall, report.evaluated))
        small_rows = rows // 10
        small = snapshot(small_rows, path)
        ours_small, wall, _ = cost(lambda: engine.check(spec(), small, path, page))
        table.append(row("contract, all holds", small_rows, ours_small, wall, report.evaluated))
        small_peer, wall, _ = cost(lambda: pandas_peer(small, path))
        table.append(row("GX on pandas, yes or no only", small_rows, small_peer, wall, report.evaluated))
    if report.outcome is not Outcome.PASSED or len(bad.failed) != 12:
        sys.exit(f"the contract answers wrongly: {report.reason}; {bad.reason}")
    print_table("Data contract", table)
    print(f"\n  of the floor: {ours / floor_cpu:.2f}; of GX on pandas: {ours / peer:.2f}")
    aims: list[Aim] = [
        at_least("contract: expectations asked of the wide snapshot", 150, report.evaluated),
        at_most(f"contract: CPU-seconds, {rows:,} x 50, all holds", 5, ours),
        at_most(f"contract: CPU-seconds, {rows:,} x 50, 12 fail with examples", 5, broken),
    ]
    write_json(aims, options.json)


if __name__ == "__main__":
    main()
