"""Score candidate and champion on the same holdout rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gauntlet.core.digest import sha256_file
from gauntlet.core.errors import DataRejected, GauntletError, IntegrityError, Rejection
from gauntlet.core.part_metrics import part_metrics
from gauntlet.core.records.data import DatasetRef, SplitManifest, SplitPart
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.model import Task, TrainedModel
from gauntlet.core.splits import PARTS
from gauntlet.stages.snapshot import read_parts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.ports import Scorer, Services
    from gauntlet.core.records.rollout import ServedVersion
    from gauntlet.core.records.run import RunContext
    from gauntlet.core.spec import ModelSpec

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]

BATCH_ROWS = 65_536
HOLDOUT = "holdout"


def evaluate(services: Services, run: RunContext) -> EvaluationRef:
    """Write one row per holdout row with both models' scores and the naive one; the same rows give the same bytes.

    Raises:
        DataRejected: the holdout is empty, or lacks a column that a model needs.
        IntegrityError: a release or the snapshot is damaged.
    """
    spec = services.specs.get(run.model)
    dataset = services.records.get(run.key, DatasetRef)
    split = services.records.get(run.key, SplitManifest)
    trained = services.records.get(run.key, TrainedModel)
    champion = services.routing.read(run.model).stable
    holdout = _holdout(split)
    snapshot = Snapshot(services.blobs.fetch(dataset.uri, dataset.sha256), read_parts(services, split), spec)
    candidate_scorer = load(services, trained.release.uri, trained.release.digest)
    champion_scorer = load(services, champion.release_uri, champion.release_digest) if champion else None
    services.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=services.scratch, prefix="evaluate-") as name:
        path = Path(name) / "evaluation.parquet"
        written = write_scores(snapshot, candidate_scorer, champion_scorer, path)
        sha256 = sha256_file(path)
        uri = services.blobs.put_file(path, f"evaluations/{run.model}/{sha256}.parquet")
    evaluation = EvaluationRef(
        uri=uri,
        sha256=sha256,
        rows=written.rows,
        positives=written.positives,
        candidate=trained.release.digest,
        champion=champion.release_digest if champion else None,
        holdout=holdout.keys_digest,
        spec_digest=run.spec_digest,
        first_event=holdout.first_event,
        last_event=holdout.last_event,
        candidate_threshold=candidate_scorer.sidecar.threshold,
        champion_threshold=champion_scorer.sidecar.threshold if champion_scorer else None,
    )
    services.records.put(run.key, evaluation)
    _log(services, trained, champion, evaluation, written)
    return evaluation


def load(services: Services, uri: str, digest: str) -> Scorer:
    """A release's scorer, after every check."""
    return services.scorers.load(services.blobs.fetch_folder(uri, digest))


def _holdout(split: SplitManifest) -> SplitPart:
    found = [part for part in split.parts if part.name == HOLDOUT]
    if not found or not found[0].rows:
        raise DataRejected("the split has no holdout rows; there is nothing to evaluate on")
    return found[0]


# ---- the rows --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A snapshot file with the part code of every row."""

    path: Path
    parts: NDArray[np.int8]
    spec: ModelSpec

    def batches(self, part: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The rows of a part, batch by batch; row groups without any are not read."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        mask = self.parts == PARTS.index(part)
        try:
            file = pq.ParquetFile(self.path, page_checksum_verification=True)
            first = 0
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if mask[first : first + rows].any():
                    place = first
                    for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                        kept = pa.array(mask[place : place + batch.num_rows])
                        place += batch.num_rows
                        yield pa.Table.from_batches([batch]).filter(kept)
                first += rows
        except (OSError, pa.ArrowException) as error:
            raise IntegrityError(f"{self.path}: damaged: {error}") from None

    def column(self, name: str, part: str) -> Floats:
        """A numeric column of a part."""
        import numpy as np

        return np.concatenate([_numbers(table, name) for table in self.batches(part, [name])])


def _numbers(table: pa.Table, name: str) -> Floats:
    import numpy as np

    column = table.column(name)
    if str(column.type) == "bool":
        column = column.cast("int8")
    return np.asarray(column.cast("float64").fill_null(float("nan")).to_numpy(), np.float64)


# ---- the naive model -------------------------------------------------------------------------------


def naive_score(snapshot: Snapshot, classes: int) -> Floats:
    """What says the same for every row, and is best at that, learned from the training part only.

    The rate of positives or of each class; for a regression the mean, the median where the objective is absolute
    error, the quantile where it is that. Shape (1,) or (classes,).
    """
    import numpy as np

    spec = snapshot.spec
    label = snapshot.column(spec.source.columns.label, "train")
    weight = np.ones(len(label))
    if spec.source.columns.weight:
        weight = snapshot.column(spec.source.columns.weight, "train")
    if spec.task is Task.MULTICLASS:
        return np.asarray(np.bincount(label.astype(np.intp), weight, minlength=classes) / weight.sum())
    objective = spec.training.objective(spec.task)
    if objective in ("regression_l1", "mape", "huber", "fair"):
        return np.array([_weighted_quantile(label, weight, 0.5)])
    if objective == "quantile":
        return np.array([_weighted_quantile(label, weight, float(spec.training.params.get("alpha", 0.9)))])
    return np.array([float(np.average(label, weights=weight))])


def _weighted_quantile(values: Floats, weight: Floats, share: float) -> float:
    import numpy as np

    order = np.argsort(values, kind="stable")
    running = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(running, share * running[-1])])


# ---- the file --------------------------------------------------------------------------------------


@dataclass
class Written:
    """What was written: counts, and the scores for the metrics that are logged."""

    rows: int
    positives: int | None
    label: Floats
    weight: Floats | None
    candidate: Floats
    champion: Floats | None
    spec: ModelSpec


def write_scores(snapshot: Snapshot, candidate: Scorer, champion: Scorer | None, to: Path) -> Written:
    """Score the holdout batch by batch into a Parquet file; memory stays that of one batch and the scores."""
    import pyarrow.parquet as pq

    naive = naive_score(snapshot, len(candidate.sidecar.classes or ()))
    writer = None
    kept: list[tuple[pa.Table, Floats, Floats | None]] = []
    try:
        for table in snapshot.batches(HOLDOUT):
            scores = _scores("candidate", candidate, table)
            others = _scores("champion", champion, table) if champion else None
            rows = evaluation_rows(snapshot.spec, table, scores, others, naive)
            writer = writer or pq.ParquetWriter(to, rows.schema, compression="zstd", write_page_checksum=True)
            writer.write_table(rows)
            kept.append((
                rows.select([name for name in ("label", "weight") if name in rows.column_names]),
                scores,
                others,
            ))
    finally:
        if writer is not None:
            writer.close()
    if not kept:
        raise DataRejected("the split file marks no row of the snapshot as holdout")
    return _summed(snapshot.spec, kept)


def _summed(spec: ModelSpec, kept: list[tuple[pa.Table, Floats, Floats | None]]) -> Written:
    import numpy as np

    label = np.concatenate([_numbers(table, "label") for table, _, _ in kept])
    weighted = "weight" in kept[0][0].column_names
    others = [other for _, _, other in kept if other is not None]
    return Written(
        rows=len(label),
        positives=int((label == 1).sum()) if spec.task is Task.BINARY else None,
        label=label,
        weight=np.concatenate([_numbers(table, "weight") for table, _, _ in kept]) if weighted else None,
        candidate=np.concatenate([scores for _, scores, _ in kept]),
        champion=np.concatenate(others) if others else None,
        spec=spec,
    )


def _scores(who: str, scorer: Scorer, table: pa.Table) -> Floats:
    try:
        return scorer.score_table(table)
    except Rejection:
        raise
    except GauntletError as error:
        raise DataRejected(f"the {who} {scorer.sidecar.version_id} cannot score the holdout: {error}") from None


def evaluation_rows(
    spec: ModelSpec, table: pa.Table, candidate: Floats, champion: Floats | None, naive: Floats
) -> pa.Table:
    """One batch of the evaluation file; see :class:`~gauntlet.core.records.evaluation.EvaluationRef`.

    Every snapshot column is kept under its own name, for slices, attributes and business metrics; only a column that
    would pass for one of the file's own is left out.
    """
    import numpy as np
    import pyarrow as pa

    columns = spec.source.columns
    roles = {"row_key": "row_key", "label": columns.label, "weight": columns.weight, "event_time": columns.event_time}
    rows: dict[str, Any] = {role: table.column(name) for role, name in roles.items() if name is not None}
    rows |= _score_columns("candidate_score", candidate)
    if champion is not None:
        rows |= _score_columns("champion_score", champion)
    rows |= _score_columns("naive_score", np.tile(naive, (len(candidate), 1)).reshape(candidate.shape))
    own = ("candidate_score", "champion_score", "naive_score")
    for name in table.column_names:
        if name not in roles and not name.startswith(own):
            rows[name] = table.column(name)
    return pa.table(rows)


def _score_columns(name: str, scores: Floats) -> dict[str, Floats]:
    if scores.ndim == 1:
        return {name: scores}
    return {f"{name}_{code}": scores[:, code] for code in range(scores.shape[1])}


# ---- what the registry is told ---------------------------------------------------------------------


def _log(
    services: Services,
    trained: TrainedModel,
    champion: ServedVersion | None,
    evaluation: EvaluationRef,
    written: Written,
) -> None:
    from gauntlet.core.metrics import Sample

    task = written.spec.task
    scored = {HOLDOUT: (written.candidate, evaluation.candidate_threshold)}
    if written.champion is not None:
        scored[f"{HOLDOUT}.champion"] = (written.champion, evaluation.champion_threshold)
    metrics: dict[str, float] = {"rows.holdout": float(written.rows)}
    for part, (scores, threshold) in scored.items():
        metrics |= part_metrics(task, part, Sample(written.label, scores, written.weight, threshold))[0]
    tags = {
        "gauntlet.evaluation": evaluation.sha256,
        "gauntlet.holdout": evaluation.holdout,
        "gauntlet.champion": champion.version_id if champion else "none",
    }
    services.registry.log(trained.mlflow_run_id, metrics=metrics, tags=tags)
