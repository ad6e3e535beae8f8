"""Compare any two files, without a spec and without a store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from gauntlet.core.errors import DataRejected
from gauntlet.core.records.drift import DriftReport
from gauntlet.core.specs.drift import DriftSection
from gauntlet.stages.arrow_columns import kinds_of
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

    ``progress`` is called with done, total and the column at work. Columns of nested or binary types are left out.

    Raises:
        DataRejected: a file is missing, unreadable, has no column that can be compared, or none that is to be left out.
    """
    wanted = section or DriftSection(window="1d", minimum_rows=1, mode=mode)
    with TemporaryDirectory(prefix="gauntlet-drift-") as scratch:
        paths = [_parquet(path, Path(scratch) / f"{place}.parquet") for place, path in enumerate((reference, current))]
        schema = _schema(paths[0])
        if strangers := sorted(set(exclude) - set(schema.names)):
            raise DataRejected(f"{reference}: no column {', '.join(strangers)} to leave out")
        kinds = {name: kind for name, kind in kinds_of(schema).items() if name not in exclude}
        if not kinds:
            raise DataRejected(f"{reference}: no column that can be compared")
        return _compared(reference, current, paths, kinds, wanted, progress)


def _compared(
    reference: Path, current: Path, paths: list[Path], kinds: dict[str, Kind], section: DriftSection, progress: Progress
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
    found = suggest(Evidence(features), section)
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
        features=features,
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
