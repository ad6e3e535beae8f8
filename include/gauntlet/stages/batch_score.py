"""Score whole Parquet files with the champion, and with the challenger beside it.

The same release, encoding, calibration and threshold as the server's, so the same bits; one batch of rows in memory
at a time; a file of scores appears whole or not at all. Nothing is journaled: a batch is no traffic.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.batch_inputs import check_rows
from gauntlet.core.digest import sha256_file
from gauntlet.core.errors import DataRejected, IntegrityError, RolloutAborted, SpecError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.batch import BatchScores, ScoredFile
from gauntlet.core.records.model import ModelSidecar, Task
from gauntlet.core.specs.batch import BatchSection
from gauntlet.stages.challengers import newest_challenger
from gauntlet.stages.releases import served

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.ports import Scorer, Services
    from gauntlet.core.records.rollout import ServedVersion
    from gauntlet.core.records.run import RunContext
    from gauntlet.core.spec import ModelSpec

    Floats = NDArray[np.float64]

ROWS = 65_536
"""Rows in memory at once."""
OWN = frozenset({
    *("score", "decision", "scores", "rejected", "version_id"),
    *("challenger_score", "challenger_decision", "challenger_scores", "challenger_version_id"),
})
SUM_TOLERANCE = 1e-6
PATTERN = frozenset("*?[")


def batch_score(services: Services, run: RunContext) -> BatchScores:
    """Score what the spec's ``batch_score`` section names, as of the run; a second try writes the same files.

    Raises:
        SpecError: the spec has no such section.
        DataRejected: there is nothing to score, or more rows are rejected than the section lets through.
    """
    section = services.specs.get(run.model).batch_score
    if section is None:
        raise SpecError(f"{run.model}: the spec has no section batch_score")
    date = run.as_of.strftime("%Y-%m-%d")
    dated = section.model_copy(
        update={"source": section.source.replace("{date}", date), "target": section.target.replace("{date}", date)}
    )
    return score_files(services, run.model, dated, run.key)


def score_files(services: Services, model: str, section: BatchSection, run_key: str) -> BatchScores:
    """Score all files of ``section.source`` into ``section.target``; the record is stored before anything is raised."""
    spec = services.specs.get(model)
    sources = source_files(section.source)
    champion, challenger = _versions(services, spec, section)
    with ExitStack() as stack:
        sides = [stack.enter_context(_loaded(services, version)) for version in (champion, challenger) if version]
        total = _Total()
        done = tuple(_score_file(source, Path(section.target) / source.name, spec, section, sides, total)
                     for source in sources)  # fmt: skip
    rows, rejected = sum(one.rows for one in done), sum(one.rejected for one in done)
    record = BatchScores(
        model=model,
        version_id=champion.version_id,
        challenger_version_id=challenger.version_id if challenger else None,
        files=done,
        rows=rows,
        rejected=rejected,
        challenger_invalid=total.challenger_invalid,
        deviations=dict(sorted(total.deviations.items())),
        **_verdict(rows, rejected, section, total),
    )
    services.records.put(run_key, record)
    if record.outcome is not Outcome.PASSED:
        raise DataRejected(f"{model}: {record.reason}")
    return record


def source_files(source: str) -> list[Path]:
    """The Parquet files of a file name, a folder or a pattern, sorted; :class:`DataRejected` when there is none."""
    path = Path(source)
    if path.is_dir():
        found = sorted(path.glob("*.parquet"))
    elif PATTERN & set(path.name):
        found = sorted(path.parent.glob(path.name))
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise DataRejected(f"{source}: no Parquet file there to score")
    return found


def _verdict(rows: int, rejected: int, section: BatchSection, total: _Total) -> dict[str, Any]:
    if rows == 0:
        return {"outcome": Outcome.FAILED, "reason": f"{section.source} has no rows: nothing was scored"}
    share = rejected / rows
    text = f"{rows - rejected} of {rows} rows scored, {rejected} rejected ({share:.3%})"
    if share > section.max_rejected_share:
        worst = ", ".join(f"{what}: {count}" for what, count in total.reasons.most_common(3))
        text = f"{text}, more than batch_score.max_rejected_share {section.max_rejected_share:.3%}; {worst}"
        return {"outcome": Outcome.FAILED, "reason": text}
    return {"outcome": Outcome.PASSED, "reason": text}


# ---- versions --------------------------------------------------------------------------------------


def _versions(services: Services, spec: ModelSpec, section: BatchSection) -> tuple[ServedVersion, ServedVersion | None]:
    routing = services.routing.read(spec.model)
    if routing.stable is None:
        raise DataRejected(f"{spec.model}: no champion to score with")
    if not section.challenger:
        return routing.stable, None
    if routing.canary is not None:
        return routing.stable, routing.canary
    with suppress(RolloutAborted):
        return routing.stable, served(newest_challenger(services, spec.model, routing, spec.rollout)[1])
    return routing.stable, None


@dataclass
class _Side:
    """A version at work."""

    version: ServedVersion
    scorer: Scorer

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *_: object) -> None:
        close = getattr(self.scorer, "close", None)
        if close is not None:
            close()


def _loaded(services: Services, version: ServedVersion) -> _Side:
    return _Side(
        version, services.scorers.load(services.blobs.fetch_folder(version.release_uri, version.release_digest))
    )


# ---- files -----------------------------------------------------------------------------------------


@dataclass
class _Total:
    """Counts over all files."""

    deviations: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    challenger_invalid: int = 0


def _score_file(
    source: Path, target: Path, spec: ModelSpec, section: BatchSection, sides: Sequence[_Side], total: _Total
) -> ScoredFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    rows = rejected = 0
    try:
        writer = None
        for batch in _batches(source):
            scored = _score_batch(batch, spec, section, sides, total)
            writer = writer or pq.ParquetWriter(temporary, scored.schema, compression="zstd", write_page_checksum=True)
            writer.write_table(scored)
            rows += batch.num_rows
            rejected += batch.num_rows - scored.column("rejected").null_count
        if writer is None:
            return ScoredFile(source=str(source), target="", rows=0, rejected=0, sha256="")
        writer.close()
        _publish(temporary, target)
    except pa.ArrowException as error:
        raise IntegrityError(f"{source}: cannot be read as Parquet: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return ScoredFile(source=str(source), target=str(target), rows=rows, rejected=rejected, sha256=sha256_file(target))


def _batches(source: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(source, page_checksum_verification=True, buffer_size=1 << 18, pre_buffer=False) as file:
        yield from file.iter_batches(ROWS)


def _publish(temporary: Path, target: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# ---- rows ------------------------------------------------------------------------------------------


def _score_batch(
    batch: pa.RecordBatch, spec: ModelSpec, section: BatchSection, sides: Sequence[_Side], total: _Total
) -> pa.Table:
    import pyarrow as pa

    kept = _kept(batch, spec, section)
    champion, rejected, deviations = _scored(batch, spec, sides[0], frozenset({*kept, *_known(spec)}))
    total.deviations += deviations
    total.reasons += Counter(reason for reason in rejected if reason is not None)
    columns = {**kept, **champion, "rejected": pa.array(rejected, pa.string())}
    for side in sides[1:]:
        beside, refused, _ = _scored(batch, spec, side, frozenset({*kept, *_known(spec), *batch.schema.names}))
        total.challenger_invalid += int(sum(reason is not None for reason in refused))
        columns |= {f"challenger_{name}": column for name, column in beside.items()}
    return pa.table(columns)


def _kept(batch: pa.RecordBatch, spec: ModelSpec, section: BatchSection) -> dict[str, Any]:
    key = spec.source.columns.key
    names = dict.fromkeys([*([key] if key is not None and key in batch.schema.names else []), *section.keep])
    if taken := sorted(OWN & names.keys()):
        raise DataRejected(f"batch_score.keep: {', '.join(taken)}: the scores' own columns are called so")
    if missing := [name for name in names if name not in batch.schema.names]:
        raise DataRejected(f"batch_score.keep: the file has no column {', '.join(missing)}")
    return {name: batch.column(name) for name in names}


def _known(spec: ModelSpec) -> set[str]:
    """Columns of the source that are no features and no surprise."""
    columns = spec.source.columns
    named = (columns.key, columns.event_time, columns.label, columns.weight)
    return {name for name in named if name is not None}


def _scored(
    batch: pa.RecordBatch, spec: ModelSpec, side: _Side, ignored: frozenset[str]
) -> tuple[dict[str, Any], Any, Counter[str]]:
    """One version's columns, the reason for each row without a score, and the deviations from its training."""
    import pyarrow as pa

    sidecar = side.scorer.sidecar
    checked = check_rows(sidecar.features, spec.serving.inputs, batch, ignored)
    scores = side.scorer.score_table(checked.table)
    rejected = checked.rejected
    rejected[(rejected == None) & ~_valid(sidecar.task, scores)] = "score invalid"  # noqa: E711  element by element
    without = rejected != None  # noqa: E711
    columns = _columns(sidecar, scores, without)
    version = pa.array([side.version.version_id], pa.string())
    columns["version_id"] = pa.DictionaryArray.from_arrays(pa.array([0] * len(scores), pa.int8()), version)
    return columns, rejected, checked.deviations


def _valid(task: Task, scores: Floats) -> Any:
    """Which rows got an answer that a model of this task may give: what the server checks of each."""
    import numpy as np

    if task is Task.REGRESSION:
        return np.isfinite(scores)
    if task is Task.BINARY:
        return (scores >= 0.0) & (scores <= 1.0)
    return (np.abs(scores.sum(axis=1) - 1.0) <= SUM_TOLERANCE) & (scores >= 0.0).all(axis=1)


def _columns(sidecar: ModelSidecar, scores: Floats, without: Any) -> dict[str, Any]:
    import pyarrow as pa

    if sidecar.task is not Task.MULTICLASS:
        columns = {"score": pa.array(scores, mask=without)}
        if sidecar.threshold is not None:
            columns["decision"] = pa.array((scores >= sidecar.threshold).astype("int8"), mask=without)
        return columns
    best = scores.argmax(axis=1)
    classes = sidecar.classes or tuple(map(str, range(scores.shape[1])))
    flat = pa.FixedSizeListArray.from_arrays(pa.array(scores.ravel()), scores.shape[1])
    return {
        "score": pa.array(scores.max(axis=1), mask=without),
        "decision": pa.array([None if skip else classes[code] for code, skip in zip(best, without, strict=True)]),
        "scores": pa.array([None if skip else row for row, skip in zip(flat.to_pylist(), without, strict=True)],
                           pa.list_(pa.float64())),
    }  # fmt: skip
