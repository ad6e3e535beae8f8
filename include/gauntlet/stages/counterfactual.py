"""What the other version would have said, over a whole rollout or a window: the journal's pairs, summed up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gauntlet.core.errors import MissingRecord
from gauntlet.core.ports import Services
from gauntlet.core.records.feedback import Counterfactual, CounterfactualPart
from gauntlet.core.records.model import ModelSidecar, Task
from gauntlet.core.records.rollout import RolloutState
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.served_rows import (
    answered_rows,
    declared_columns,
    feature_columns,
    sidecar_of,
    slice_columns,
    with_labels,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.counterfactual import Pairs

ACTOR = "counterfactual"
LARGEST = 20
MATURING = timedelta(days=60)
"""After this long nobody waits for a rollout's labels any more."""
LOOK_BACK = 1000
"""Rollouts among which one is searched for by its name."""


def counterfactual_key(model: str) -> str:
    """Where a model's summaries are kept."""
    return f"{model}/counterfactual"


def counterfactual(
    services: Services, model: str, *, rollout: str | None = None, window: timedelta | None = None
) -> tuple[Counterfactual, ...]:
    """Sum up a rollout, the newest where none is named, or all rollouts of a window: one summary per pair of versions.

    Made anew at every call, because labels go on maturing; stored under its rollout, so that the page shows it.

    Raises:
        MissingRecord: there is no such rollout, or both versions have scored no request.
    """
    spec, now = services.specs.get(model), services.clock.now()
    since, until = now - (window or timedelta(0)), now
    if window is None:
        state = _rollout(services, model, rollout)
        since, until, rollout = state.started_at, min(state.updated_at + spec.rollout.tick, now), state.rollout
    table, notes = answered_rows(services, model, since, until, rollout)
    found = tuple(_summaries(services, spec, _paired(table), rollout, (since, until, now), notes, table.num_rows))
    if not found:
        raise MissingRecord(
            f"{model}: no request from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} was scored by two versions; "
            "that is done during a rollout, from its shadow on"
        )
    for one in found:
        services.records.put(counterfactual_key(model), one, f"{rollout or 'window'}:{one.challenger}", actor=ACTOR)
    return found


def keep_summed_up(services: Services, model: str) -> str:
    """Sum the newest rollout up again, as long as its labels may still be maturing; what was found, in words."""
    state = next(iter(services.records.newest(model, RolloutState)), None)
    if state is None:
        return "there is no rollout yet"
    if services.clock.now() - state.updated_at > MATURING:
        return f"{state.rollout} is long over: its summary stays as it is"
    try:
        return "; ".join(one.reason for one in counterfactual(services, model, rollout=state.rollout))
    except MissingRecord as why:
        return str(why)


def _rollout(services: Services, model: str, name: str | None) -> RolloutState:
    states = services.records.newest(model, RolloutState, limit=1 if name is None else LOOK_BACK)
    state = next((one for one in states if name is None or one.rollout == name), None)
    if state is None:
        raise MissingRecord(f"{model}: there is no rollout {name or 'yet'}")
    return state


def _paired(table: pa.Table) -> pa.Table:
    """The rows that both versions have scored."""
    import pyarrow.compute as pc

    both = pc.and_(pc.is_finite(table.column("score")), pc.is_finite(table.column("other_score")))
    return table.filter(pc.and_(both, pc.is_valid(table.column("other_version_id"))))


def _summaries(
    services: Services,
    spec: ModelSpec,
    table: pa.Table,
    rollout: str | None,
    times: tuple[datetime, datetime, datetime],
    notes: list[str],
    answered: int,
) -> Iterator[Counterfactual]:
    from gauntlet.core import counterfactual as core
    from gauntlet.core.live.window import explored

    if not table.num_rows:
        return
    columns = declared_columns(spec)
    table = with_labels(services, spec, table, columns, times[2])
    for (champion, challenger), rows in _by_pair(table).items():
        part = table.take(rows)
        sidecars = {version: sidecar_of(services, spec.model, version) for version in (champion, challenger)}
        known = slice_columns(part, feature_columns(spec, part, sidecars, columns), columns)
        pairs = _pairs(spec, part, sidecars[champion], sidecars[challenger])
        whole, slices = _parts(spec.task, pairs, known)
        yield Counterfactual(
            model=spec.model,
            rollout=rollout,
            champion=champion,
            challenger=challenger,
            since=times[0],
            until=times[1],
            at=times[2],
            answered=answered,
            explored=int(explored(part).sum()),
            whole=whole,
            slices=slices,
            largest=core.largest(part, pairs, LARGEST),
            notes=(*notes, *_missing(sidecars)),
            reason=core.sentence(whole, champion, challenger),
        )


def _missing(sidecars: Mapping[str, ModelSidecar | None]) -> list[str]:
    gone = [version for version, sidecar in sidecars.items() if sidecar is None]
    return [f"the release of {version} is gone, and its threshold with it: no decision is compared" for version in gone]


def _by_pair(table: pa.Table) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Rows by champion and challenger, whichever of them answered."""
    import numpy as np

    from gauntlet.core.records.rollout import Arm

    columns = (table.column(name).to_pylist() for name in ("arm", "version_id", "other_version_id"))
    pairs: dict[tuple[str, str], list[int]] = {}
    for place, (arm, own, other) in enumerate(zip(*columns, strict=True)):
        pairs.setdefault((other, own) if arm == Arm.CANARY else (own, other), []).append(place)
    return {pair: np.asarray(rows) for pair, rows in sorted(pairs.items())}


def _pairs(spec: ModelSpec, table: pa.Table, champion: ModelSidecar | None, challenger: ModelSidecar | None) -> Pairs:
    import numpy as np

    from gauntlet.core.counterfactual import Pairs, decisions
    from gauntlet.core.live.window import scores_of, unit_numbers

    theirs, ours, _ = scores_of(table)
    thresholds = (champion.threshold, challenger.threshold) if champion and challenger else (None, None)
    label = np.asarray(table.column("label").to_numpy(), dtype=np.float64)
    return Pairs(
        champion=theirs,
        challenger=ours,
        champion_yes=decisions(theirs, thresholds[0]),
        challenger_yes=decisions(ours, thresholds[1]),
        # Of several classes the journal keeps one score, which has no loss by itself.
        label=np.full(label.size, np.nan) if spec.task is Task.MULTICLASS else label,
        unit=unit_numbers(table),
    )


def _parts(
    task: Task, pairs: Pairs, columns: Mapping[str, pa.ChunkedArray]
) -> tuple[CounterfactualPart, tuple[CounterfactualPart, ...]]:
    import numpy as np

    from gauntlet.core.counterfactual import summed_up
    from gauntlet.core.slice_audit import declared_slices

    everybody = np.ones(pairs.champion.size, dtype=bool)
    slices = (summed_up(one.name, task, pairs, one.mask) for one in declared_slices(columns))
    return summed_up("all", task, pairs, everybody), tuple(slices)
