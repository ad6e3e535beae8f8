"""Gathering what one gate may look at, from the store and the blobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gauntlet.core.errors import IntegrityError
from gauntlet.core.gates.catalogue import Gate
from gauntlet.core.gates.evidence import ChampionFacts, Evidence, Frame
from gauntlet.core.records.data import ContractReport, DatasetRef, LeakageReport, SplitManifest
from gauntlet.core.records.evaluation import EvaluationRef, ProbeReport
from gauntlet.core.records.gates import Approval
from gauntlet.core.records.model import TrainedModel
from gauntlet.core.records.observation import HoldoutRead
from gauntlet.stages.arrays import candidate_scores, microseconds, numbers, scores
from gauntlet.stages.line import stopped
from gauntlet.stages.release_folder import read_sidecar, sidecar_in
from gauntlet.stages.releases import ALL
from gauntlet.stages.snapshot import read_parts, read_snapshot, read_verified

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.ports import Services
    from gauntlet.core.records.observation import Observation
    from gauntlet.core.records.rollout import ServedVersion
    from gauntlet.core.records.run import RunContext
    from gauntlet.core.spec import ModelSpec

TRAINING_PARTS = ("train", "validation", "calibration")
OWN = ("row_key", "label", "weight", "event_time", "candidate_score", "champion_score", "naive_score")
SCORES = ("candidate_score_", "champion_score_", "naive_score_")


@dataclass(frozen=True)
class Subject:
    """What a gate's receipt is bound to."""

    run: RunContext
    spec: ModelSpec
    trained: TrainedModel
    evaluation: EvaluationRef
    champion: ServedVersion | None

    @property
    def champion_digest(self) -> str | None:
        """The champion's release digest."""
        return self.champion.release_digest if self.champion else None


def subject(services: Services, run: RunContext) -> Subject:
    """Candidate, champion and holdout of a run, as they are now."""
    return Subject(
        run,
        services.specs.get(run.model),
        services.records.get(run.key, TrainedModel),
        services.records.get(run.key, EvaluationRef),
        services.routing.read(run.model).stable,
    )


def gather(
    services: Services,
    about: Subject,
    name: str,
    gate: Gate,
    observations: tuple[Observation, ...] | None,
    *,
    count: bool = True,
) -> Evidence:
    """The evidence for one gate; the holdout is read, and its reading counted, only for gates that need it."""
    records, key = services.records, about.run.key
    made = {one.release.digest: one for one in reversed(records.newest(about.run.model, TrainedModel, limit=ALL))}
    return Evidence(
        spec=about.spec,
        run=about.run,
        judged_at=services.clock.now(),
        candidate=about.trained.release.digest,
        champion=about.champion_digest,
        trained=about.trained,
        sidecar=sidecar_in(services.blobs.fetch_folder(about.trained.release.uri, about.trained.release.digest)),
        dataset=records.find(key, DatasetRef),
        contract=records.find(key, ContractReport),
        split=records.find(key, SplitManifest),
        leakage=records.find(key, LeakageReport),
        evaluation=about.evaluation,
        frame=_frame(services, about, name, made if gate.beside else None) if gate.holdout else None,
        probe=records.find(key, ProbeReport),
        observations=observations,
        champion_facts=_champion_facts(services, about, made),
        approvals=tuple(records.named(key, Approval).values()),
        holdout_reads=_count_reading(services, about, name) if gate.holdout and count else None,
        frozen=stopped(services, about.run.model),
    )


# ---- the champion ----------------------------------------------------------------------------------


Made = Mapping[str, TrainedModel]
"""Every model that a run of this store has made, by its release digest."""


def _champion_facts(services: Services, about: Subject, made: Made) -> ChampionFacts | None:
    if about.champion is None:
        return None
    sidecar = read_sidecar(services, about.champion)
    trained = made.get(about.champion.release_digest)
    return ChampionFacts(
        digest=about.champion.release_digest,
        version_id=about.champion.version_id,
        trained_through=sidecar.trained_through,
        trained_at=trained.trained_at if trained else None,
        size_bytes=trained.release.size_bytes if trained else None,
        tree_digest=sidecar.tree_digest,
    )


def _seen(services: Services, about: Subject, keys: NDArray[Any], made: Made) -> NDArray[np.bool_] | None:
    """Holdout rows among those the champion was trained, stopped or calibrated on; ``None`` when they are not known.

    Of a derived champion those that its trees were trained on count too.
    """
    import numpy as np

    seen = np.zeros(len(keys), dtype=bool)
    digest = about.champion_digest
    while digest is not None:
        rows = _rows_of(services, about.run.model, made.get(digest))
        if rows is None:
            return None
        seen |= np.isin(keys, rows)
        digest = made[digest].derived_from
    return seen


def _rows_of(services: Services, model: str, trained: TrainedModel | None) -> NDArray[Any] | None:
    """The keys of the rows that anything in a model was fitted on; ``None`` when they are not known."""
    import numpy as np

    from gauntlet.core.splits import PARTS

    if trained is None:
        return None
    dataset = _first(services.records.newest(model, DatasetRef, limit=ALL), "sha256", trained.dataset)
    split = _first(services.records.newest(model, SplitManifest, limit=ALL), "sha256", trained.split)
    if dataset is None or split is None:
        return None
    try:
        parts, rows = read_parts(services, split), read_snapshot(services, dataset, ["row_key"])
    except IntegrityError:
        # Snapshots are deleted after their retention; then only the time of the rows can tell.
        return None
    used = np.isin(parts, [PARTS.index(name) for name in TRAINING_PARTS])
    kept: NDArray[Any] = rows.column("row_key").to_numpy()[used]
    return kept


def _first(found: list[Any], field: str, value: str) -> Any:
    return next((item for item in found if getattr(item, field) == value), None)


# ---- the holdout -----------------------------------------------------------------------------------


def wanted_columns(spec: ModelSpec, name: str) -> tuple[str, ...]:
    """The data columns that one gate judges by, those of the business metric among them."""
    profit = spec.gates.profit
    return tuple(dict.fromkeys(spec.gates.config(name).columns + (profit.reads if profit else ())))


def _frame(services: Services, about: Subject, name: str, made: Made | None) -> Frame:
    """What a gate reads of the holdout; with ``made``, also which rows the champion has seen."""
    path = services.blobs.fetch(about.evaluation.uri, about.evaluation.sha256)
    frame = frame_of(read_verified(path, _present(path, wanted_columns(about.spec, name))))
    if about.champion is None or made is None:
        return frame
    return replace(frame, seen=_seen(services, about, frame.row_key, made))


def _present(path: Path, wanted: tuple[str, ...]) -> list[str]:
    """The file's own columns and those that are wanted; one that is not there is for the gate to say."""
    import pyarrow.parquet as pq

    return [name for name in pq.read_schema(path).names if _own(name) or name in wanted]


def _own(name: str) -> bool:
    return name in OWN or name.startswith(SCORES)


def frame_of(table: pa.Table) -> Frame:
    """An evaluation file as arrays; see :class:`~gauntlet.core.records.evaluation.EvaluationRef`."""
    names = table.column_names
    return Frame(
        row_key=table.column("row_key").to_numpy(),
        label=numbers(table.column("label")),
        candidate=candidate_scores(table),
        champion=scores(table, "champion_score"),
        naive=scores(table, "naive_score"),
        weight=numbers(table.column("weight")) if "weight" in names else None,
        event_us=microseconds(table.column("event_time")) if "event_time" in names else None,
        columns={name: column_values(table.column(name)) for name in names if not _own(name)},
    )


def column_values(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column's values: numbers as float64, everything else as objects with None where missing."""
    import numpy as np
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return numbers(column)
    values = np.empty(len(column), dtype=object)
    values[:] = column.to_pylist()
    return values


def _count_reading(services: Services, about: Subject, name: str) -> int:
    """Record this reading of the holdout, once, and say which one it is of all there were."""
    evaluation, candidate = about.evaluation, about.trained.release.digest
    reading = HoldoutRead(
        model=about.run.model, run=about.run.run, gate=name, holdout=evaluation.holdout, candidate=candidate
    )
    services.records.put(about.run.key, reading, f"{name}:{candidate[:16]}:{evaluation.holdout[:16]}")
    earlier = [
        item
        for item in reversed(services.records.newest(about.run.model, HoldoutRead, limit=ALL))
        if item.holdout == evaluation.holdout
    ]
    return earlier.index(reading) + 1
