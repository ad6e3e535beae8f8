"""What a drift check costs: ours, the floor below it, and the peers, each in a process of its own.

Two windows of 40 numeric and 10 categorical columns in Parquet. The floor of the exact mode is decoding both files,
one ``np.sort`` per numeric and one ``np.bincount`` per categorical column; that of the profile mode is decoding the
current file. Ours includes reading the files; peers and the SciPy loop get frames that are in memory already.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "drift_peers"), str(HERE.parent / "include")]

from environments import PEERS, Unavailable  # noqa: E402
from environments import measure as measure_peer  # noqa: E402
from measured import Measured  # noqa: E402
from report import Aim, arguments, at_least, at_most, print_table, write_json  # noqa: E402

NUMERIC, LABELS = 40, 10
REPEATS = 5
GROUP = 1 << 20


# ---- data --------------------------------------------------------------------------------------------


def write_window(path: Path, rows: int, seed: int, numeric: int = NUMERIC, labels: int = LABELS) -> None:
    """Columns of common shapes: normal, lognormal, counts, zero-inflated, with nulls; written by row group."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(seed), None
    for start in range(0, rows, GROUP):
        n = min(GROUP, rows - start)
        columns: dict[str, Any] = {f"x{i}": _numeric(rng, i, n) for i in range(numeric)}
        for i in range(labels):
            names = [f"category {j}" for j in range(5 + 7 * i)]
            codes = rng.integers(0, len(names), n).astype(np.int32)
            columns[f"c{i}"] = pa.DictionaryArray.from_arrays(pa.array(codes), names).cast(pa.string())
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True)
        writer.write_table(table, row_group_size=GROUP)
    if writer:
        writer.close()


def _numeric(rng: Any, place: int, n: int) -> Any:
    import numpy as np
    import pyarrow as pa

    shape = place % 8
    if shape == 5:
        return rng.lognormal(3, 1, n)
    if shape == 6:
        return pa.array(rng.normal(size=n), mask=rng.random(n) < 0.05)
    if shape == 7:
        return np.where(rng.random(n) < 0.8, 0.0, rng.gamma(2, 50, n))
    return rng.normal(place, 1 + place, n)


def kinds_of_file(path: Path) -> dict[str, Any]:
    """How ours compares the file's columns."""
    import pyarrow.parquet as pq

    from gauntlet.stages.arrow_columns import kinds_of

    return dict(kinds_of(pq.read_schema(path)))


# ---- contenders: each runs in a process of its own ---------------------------------------------------


def decode(_reference: Path, current: Path) -> None:
    """The floor of the profile mode."""
    import pyarrow.parquet as pq

    with Measured(tool="decode the current file"):
        pq.read_table(current)


def sort(reference: Path, current: Path) -> None:
    """The floor of the exact mode."""
    import numpy as np
    import pyarrow.parquet as pq

    with Measured(tool="decode, sort and count both files"):
        for path in (reference, current):
            labels = [name for name, kind in kinds_of_file(path).items() if kind == "categorical"]
            file = pq.ParquetFile(path, read_dictionary=labels)
            for name in file.schema_arrow.names:
                column = file.read([name], use_threads=False).column(0)
                if name not in labels:
                    np.sort(column.to_numpy())
                    continue
                for chunk in column.chunks:
                    np.bincount(chunk.indices.to_numpy())


def profile(reference: Path, current: Path) -> None:
    """Ours against a stored profile."""
    from gauntlet.core.drift import compare
    from gauntlet.core.profile import Profile
    from gauntlet.core.specs.drift import DriftSection
    from gauntlet.stages.windows import Window, counted

    kinds, content = kinds_of_file(current), profile_bytes(reference)
    _warm()
    with Measured(tool="gauntlet, profile mode", profile_bytes=len(content)):
        stored = Profile.from_bytes(content)
        compare(stored, counted(stored.blank(), Window(current), kinds), DriftSection(window="1d"))


def exact(reference: Path, current: Path) -> None:
    """Ours with both columns read whole."""
    from gauntlet.core.drift import compare
    from gauntlet.core.profile import Profile
    from gauntlet.core.specs.drift import DriftSection
    from gauntlet.stages.drift_window import exact_columns
    from gauntlet.stages.windows import Window, counted

    kinds, content = kinds_of_file(current), profile_bytes(reference)
    _warm(exact=True)
    with Measured(tool="gauntlet, exact mode"):
        stored = Profile.from_bytes(content)
        window = counted(stored.blank(), Window(current), kinds)
        columns = exact_columns(Window(reference), current, verified=False)
        compare(stored, window, DriftSection(window="1d"), columns)


def _warm(exact: bool = False) -> None:
    """A whole check of tiny files, so that no import is measured: none of the peers' is either."""
    from gauntlet.stages.drift_files import compare_files

    with TemporaryDirectory() as folder:
        path = Path(folder) / "toy.parquet"
        write_window(path, 99, 1, numeric=8, labels=1)
        compare_files(path, path, mode="exact" if exact else "profile")


def profile_bytes(reference: Path) -> bytes:
    """The reference's profile, made once beside the file."""
    from gauntlet.stages.windows import Window, profile_of

    path = reference.with_suffix(".profile.json")
    if not path.exists():
        path.write_bytes(profile_of(Window(reference), kinds_of_file(reference)).to_bytes())
    return path.read_bytes()


def scipy_loop(reference: Path, current: Path) -> None:
    """KS and Wasserstein per numeric, chi-squared per categorical column."""
    import numpy as np
    import pandas as pd
    import scipy.stats

    before, after = pd.read_parquet(reference), pd.read_parquet(current)
    with Measured(tool="SciPy loop"):
        for name in before:
            if pd.api.types.is_numeric_dtype(before[name]):
                one, other = before[name].dropna().to_numpy(), after[name].dropna().to_numpy()
                scipy.stats.ks_2samp(one, other)
                scipy.stats.wasserstein_distance(one, other)
            else:
                counts = [frame[name].value_counts() for frame in (before, after)]
                table = np.array([one.reindex(counts[0].index.union(counts[1].index), fill_value=0) for one in counts])
                scipy.stats.chi2_contingency(table)


CONTENDERS: dict[str, Callable[[Path, Path], None]] = {
    "decode": decode,
    "sort": sort,
    "profile": profile,
    "exact": exact,
    "scipy": scipy_loop,
}


def run(name: str, reference: Path, current: Path, repeats: int = 1) -> dict[str, Any]:
    """The cheapest of some runs of a contender, each in a new process."""
    command = [sys.executable, __file__, "--contender", name, str(reference), str(current)]
    found = []
    for _ in range(repeats):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
        found.append(json.loads(done.stdout.strip().splitlines()[-1]))
    best: dict[str, Any] = min(found, key=lambda one: one["cpu_s"])
    return best


# ---- the comparison ----------------------------------------------------------------------------------


def compared(rows: int, folder: Path, peers: bool) -> dict[str, dict[str, Any]]:
    """All contenders on two windows of this size; peers that are not available are told and left out."""
    reference, current = folder / f"reference-{rows}.parquet", folder / f"current-{rows}.parquet"
    write_window(reference, rows, 1)
    # One row less: samples of one size have a shortcut that two real windows never take.
    write_window(current, rows - 1, 2)
    profile_bytes(reference)
    found = {name: run(name, reference, current, 1 if name == "scipy" else REPEATS) for name in CONTENDERS}
    for name, peer in PEERS.items() if peers else ():
        try:
            found[name] = measure_peer(peer, str(reference), str(current))
        except Unavailable as reason:
            print(f"  not run, {name}: {reason}")
    return found


def table_of(found: dict[str, dict[str, Any]]) -> list[dict[str, object]]:
    """One line per contender, with its cost in units of ours."""
    ours = found["profile"]["cpu_s"]
    return [
        {
            "what": one["tool"],
            "CPU s": f"{one['cpu_s']:.2f}",
            "wall s": f"{one['wall_s']:.2f}",
            "peak MB": f"{one['peak_mb']:.0f}",
            "CPU / ours": f"{one['cpu_s'] / ours:.1f}",
        }
        for one in found.values()
    ]


def aims_of(rows: int, found: dict[str, dict[str, Any]]) -> list[Aim]:
    """The aims at one size; a peer that was not measured has none."""
    cpu = {name: one["cpu_s"] for name, one in found.items()}
    at = f"at {rows:,} rows".replace(",", " ")
    aims = [
        at_most(f"profile mode, CPU over decoding the current file, {at}", 1.5, cpu["profile"] / cpu["decode"]),
        at_most(f"exact mode, CPU over decode, sort and count of both, {at}", 2.0, cpu["exact"] / cpu["sort"]),
        at_most(f"profile mode, peak MB, {at}", 150, found["profile"]["peak_mb"]),
        at_most(f"exact mode, peak MB, {at}", 150, found["exact"]["peak_mb"]),
        at_most(f"bytes of a profile of 50 columns, {at}", 5e6, found["profile"]["profile_bytes"]),
        at_least(f"SciPy loop with Wasserstein, CPU over ours, {at}", 30, cpu["scipy"] / cpu["profile"]),
    ]
    if "evidently" in cpu:
        aims.append(
            at_least(f"Evidently's default preset, CPU over ours, {at}", 300, cpu["evidently"] / cpu["profile"])
        )
    return aims


def linear(folder: Path, small: int, large: int) -> list[Aim]:
    """Cost per row and memory of two columns, small and large."""
    costs = []
    reference = folder / "narrow-reference.parquet"
    write_window(reference, small, 1, numeric=2, labels=1)
    profile_bytes(reference)
    for rows in (small, large):
        current = folder / f"narrow-{rows}.parquet"
        write_window(current, rows, 2, numeric=2, labels=1)
        costs.append(run("profile", reference, current, 3))
    print_table(
        "Two numeric and one categorical column",
        [{"rows": rows} | _brief(one) for rows, one in zip((small, large), costs, strict=True)],
    )
    per_row = [one["cpu_s"] / rows for rows, one in zip((small, large), costs, strict=True)]
    return [
        at_most(
            f"CPU per row at {large // 10**6}M rows over that at {small // 10**6 or 1}M", 1.2, per_row[1] / per_row[0]
        ),
        at_most(f"profile mode, peak MB at {large // 10**6}M rows", 150, costs[1]["peak_mb"]),
    ]


def _brief(one: dict[str, Any]) -> dict[str, object]:
    return {"CPU s": f"{one['cpu_s']:.2f}", "wall s": f"{one['wall_s']:.2f}", "peak MB": f"{one['peak_mb']:.0f}"}


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--contender", nargs=3, metavar=("NAME", "REF", "CUR"), help="one contender, in this process")
    parser.add_argument("--no-peers", action="store_true", help="leave out the peers and their environments")
    chosen = parser.parse_args()
    if chosen.contender:
        name, reference, current = chosen.contender
        CONTENDERS[name](Path(reference), Path(current))
        return
    aims: list[Aim] = []
    with TemporaryDirectory(prefix="gauntlet-bench-") as folder:
        for rows in (100_000,) if chosen.quick else (100_000, 1_000_000):
            found = compared(rows, Path(folder), peers=not (chosen.no_peers or chosen.quick))
            print_table(f"{rows:,} rows x {NUMERIC + LABELS} columns".replace(",", " "), table_of(found))
            aims += aims_of(rows, found)
        aims += linear(Path(folder), 10**6, 2 * 10**6 if chosen.quick else 2 * 10**7)
    write_json(aims, chosen.json)


if __name__ == "__main__":
    main()
