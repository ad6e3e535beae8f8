"""Compare any two files, without a spec and without a store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from gauntlet.core.errors import DataRejected
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftReport, FeatureDrift, LeftOut
from gauntlet.core.specs.drift import DriftSection
from gauntlet.stages.arrow_columns import dtype_of, kinds_of
from gauntlet.stages.windows import Progress, Window, counted, profile_of, silent

if TYPE_CHECKING:
    import pyarrow as pa

    from gauntlet.core.drift import Exact
    from gauntlet.stages.arrow_columns import Kind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SEPARATORS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class FileComparison:
    """The report of two files, and its page."""

    report: DriftReport
    page: str


def compare_files(
    reference: Path,
    current: Path,
    *,
    mode: Literal["profile", "exact"] = "profile",
    section: DriftSection | None = None,
    exclude: tuple[str, ...] = (),
    progress: Progress = silent,
) -> FileComparison:
    """Compare two Parquet or CSV files column by column; all columns of the reference weigh the same.

    ``progress`` is called with done, total and the column at work. Columns of nested or binary types cannot be
    compared: they are named in the report's ``left_out``. A column that only one file has, or that can be compared in
    one only, is a finding.

    Raises:
        DataRejected: a file is missing, unreadable, has no column that can be compared, or none that is to be left out.
    """
    wanted = section or DriftSection(window="1d", minimum_rows=1, mode=mode)
    with TemporaryDirectory(prefix="gauntlet-drift-") as scratch:
        paths = [_parquet(path, Path(scratch) / f"{place}.parquet") for place, path in enumerate((reference, current))]
        before, after = (_schema(path) for path in paths)
        if strangers := sorted(set(exclude) - {*before.names, *after.names}):
            raise DataRejected(f"{reference}: no column {', '.join(strangers)} to leave out")
        kinds = {name: kind for name, kind in kinds_of(before).items() if name not in exclude}
        beside = _beside(before, after, exclude)
        if not kinds:
            told = f": {', '.join(f'{one.column} is {one.why}' for one in beside[1])}" if beside[1] else ""
            raise DataRejected(f"{reference}: no column that can be compared{told}")
        return _compared(reference, current, paths, kinds, wanted, progress, beside)


Beside = tuple[dict[str, str], tuple[LeftOut, ...]]
"""What is wrong with columns that cannot be compared, by column, and what nothing is claimed of."""


def _beside(before: pa.Schema, after: pa.Schema, exclude: tuple[str, ...]) -> Beside:
    wrong: dict[str, str] = {}
    left = [LeftOut(column=name, why="left out on demand") for name in dict.fromkeys(exclude)]
    comparable = kinds_of(before)
    for name in (*before.names, *(name for name in after.names if name not in before.names)):
        if name in exclude or name in comparable:
            continue
        old, new = (schema.field(name).type if name in schema.names else None for schema in (before, after))
        if old is None or new is None:
            which = "current file" if old is None else "reference"
            wrong[name] = f"only the {which} has it ({new if old is None else old})"
        elif name in kinds_of(after):
            wrong[name] = f"{old} became {dtype_of(new)}"
        else:
            told = str(old) if old == new else f"{old}, now {new}"
            left.append(LeftOut(column=name, why=f"{told}: nested and binary values are not compared"))
    return wrong, tuple(left)


def _finding(column: str, wrong: str, rows: tuple[int, int]) -> FeatureDrift:
    """A column that cannot be compared because the files differ in it."""
    return FeatureDrift(
        feature=column,
        segment=None,
        kind="column",
        importance=0.0,
        outcome=Outcome.FAILED,
        quality=True,
        severe=False,
        sentence=f"{column}: {wrong}",
        p_value=None,
        adjusted_p=None,
        effect=None,
        reference_rows=rows[0],
        current_rows=rows[1],
        required_rows=None,
        statistics=(),
    )


def _compared(
    reference: Path,
    current: Path,
    paths: list[Path],
    kinds: dict[str, Kind],
    section: DriftSection,
    progress: Progress,
    beside: Beside,
) -> FileComparison:
    from gauntlet.core.digest import sha256_file
    from gauntlet.core.drift import compare
    from gauntlet.core.drift_action import Evidence, suggest
    from gauntlet.stages.drift_page import render

    half = len(kinds)
    profile = profile_of(Window(paths[0]), kinds, progress=lambda done, _, what: progress(done, 2 * half, what))
    window = counted(
        profile.blank(), Window(paths[1]), kinds, progress=lambda done, _, what: progress(half + done, 2 * half, what)
    )
    features = compare(profile, window, section, _exact(paths) if section.mode == "exact" else _counts_only)
    rows = profile.rows, window.rows
    apart = tuple(_finding(column, wrong, rows) for column, wrong in beside[0].items())
    found = suggest(Evidence((*apart, *features)), section)
    report = DriftReport(
        model=current.name,
        run="files",
        as_of=EPOCH,
        spec_digest=sha256_file(paths[1]),
        champion=None,
        profile=sha256_file(paths[0]),
        profile_as_of=None,
        mode=section.mode,
        window_start=None,
        window_end=EPOCH,
        rows=window.rows,
        reference_rows=profile.rows,
        prediction=None,
        performance=None,
        page_uri=None,
        page_sha256=None,
        data_uri=None,
        data_sha256=None,
        features=(*apart, *features),
        left_out=beside[1],
        **vars(found),
    )
    title = f"{current.name} against {reference.name}"
    page = render(report, profile, window, alpha=section.alpha, title=title, subtitle=f"{reference} → {current}")
    return FileComparison(report, page)


def _counts_only(_feature: str, _segment: str | None) -> None:
    return None


def _exact(paths: list[Path]) -> Exact:
    from gauntlet.stages.drift_window import exact_columns

    return exact_columns(Window(paths[0]), paths[1], verified=False)


def _parquet(path: Path, to: Path) -> Path:
    """The file itself when it is Parquet, else a copy that is."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataRejected(f"{path}: no such file")
    if path.suffix.lower() not in SEPARATORS:
        _schema(path)
        return path
    try:
        options = pa.csv.ParseOptions(delimiter=SEPARATORS[path.suffix.lower()])
        convert = pa.csv.ConvertOptions(strings_can_be_null=True, auto_dict_encode=False)
        pq.write_table(pa.csv.read_csv(path, parse_options=options, convert_options=convert), to, compression="lz4")
    except pa.ArrowException as error:
        raise DataRejected(f"{path}: not a readable CSV file: {error}") from error
    return to


def _schema(path: Path) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise DataRejected(f"{path}: not a readable Parquet file: {error}") from error
