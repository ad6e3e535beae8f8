"""Whether the label, the future or the holdout leaks into training. Pure checks over arrays.

Each check answers one question with a :class:`LeakageFinding`. A check that does not apply (no time,
no entity) is not asked; one that applies and cannot be answered is an ``error``, never a pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gauntlet.core.label_leakage import linear_combination, single_features
from gauntlet.core.leakage_evidence import NEVER, TRAIN, Column, Evidence, Limits, finding, unanswered
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.data import LeakageFinding, LeakageReport
from gauntlet.core.records.model import Task
from gauntlet.core.splits import DROPPED, PARTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check(dataset: str, evidence: Evidence, limits: Limits, seed: int = 0) -> LeakageReport:
    """Ask every question that applies and fold the answers."""
    findings = tuple(_findings(evidence, limits, seed))
    outcome = worst(answer.outcome for answer in findings)
    bad = [answer.sentence for answer in findings if not answer.outcome.satisfied]
    reason = "; ".join(bad) if bad else f"{len(findings)} checks found nothing"
    return LeakageReport(outcome=outcome, reason=reason, dataset=dataset, findings=findings)


def _findings(evidence: Evidence, limits: Limits, seed: int) -> Iterator[LeakageFinding]:
    yield parts_present(evidence)
    yield overlap(evidence)
    yield duplicates(evidence, limits.duplicates)
    if evidence.entities is not None:
        yield entities(evidence)
    if evidence.by_time and evidence.event_time is not None:
        yield windows(evidence)
    for name in evidence.times:
        yield future(evidence, name)
    yield from single_features(evidence, limits, seed)
    if evidence.task is Task.REGRESSION:
        yield linear_combination(evidence, limits.sample, seed)


# ---- rows ------------------------------------------------------------------------------------------


def parts_present(evidence: Evidence) -> LeakageFinding:
    """There are rows to train on and rows to judge on; else no other check means anything."""
    counts = {PARTS[code]: int((evidence.parts == code).sum()) for code in (0, 1, 3)}
    empty = [name for name, count in counts.items() if not count]
    if empty:
        return unanswered("parts", f"no rows in {' and '.join(empty)}")
    return finding("parts", False, ", ".join(f"{name} has {count} rows" for name, count in counts.items()))


def overlap(evidence: Evidence) -> LeakageFinding:
    """No row key is in two parts."""
    import numpy as np

    kept = evidence.parts != DROPPED
    _, codes = np.unique(evidence.keys[kept], return_inverse=True)
    several = _in_several(codes, evidence.parts[kept])
    return finding("overlap", several > 0, f"{several} row keys are in more than one part")


def duplicates(evidence: Evidence, limit: float) -> LeakageFinding:
    """Few rows outside train have, to four digits, the features of a train row."""
    import numpy as np

    prints = fingerprints(list(evidence.features.values()), len(evidence.parts))
    outside = (evidence.parts != TRAIN) & (evidence.parts != DROPPED)
    rows = int(outside.sum())
    if not rows:
        return unanswered("duplicates", "no rows outside train to compare with it")
    same = int(np.isin(prints[outside], prints[evidence.parts == TRAIN]).sum())
    share = same / rows
    return finding(
        "duplicates",
        share > limit,
        f"{share:.2%} of {rows} rows outside train have the features of a train row, limit {limit:.2%}",
    )


def fingerprints(columns: Sequence[Column], rows: int) -> NDArray[np.uint64]:
    """A 64-bit digest of every feature row, numbers rounded to 13 binary (about four decimal) digits."""
    import numpy as np

    prints = np.full(rows, 0x9E3779B97F4A7C15, dtype=np.uint64)
    for column in columns:
        with np.errstate(over="ignore"):
            bits = (column.values.astype(np.float32) + np.float32(0)).view(np.uint32)
        if not column.categorical:
            bits = (bits + np.uint32(0x200)) & np.uint32(0xFFFFFC00)
        bits[np.isnan(column.values)] = 0x7FC00000
        prints ^= bits
        prints *= np.uint64(0xFF51AFD7ED558CCD)
        prints ^= prints >> np.uint64(32)
    return prints


def entities(evidence: Evidence) -> LeakageFinding:
    """No entity is in two parts, unless the spec allows it: then it is waived, and counted."""
    assert evidence.entities is not None
    kept = (evidence.parts != DROPPED) & (evidence.entities >= 0)
    several = _in_several(evidence.entities[kept], evidence.parts[kept])
    sentence = f"{several} entities are in more than one part"
    if several and evidence.straddle == "allow":
        return LeakageFinding(check="entities", outcome=Outcome.WAIVED, sentence=f"{sentence}; split.entities: allow")
    return finding("entities", several > 0, sentence)


def _in_several(groups: NDArray[Any], parts: NDArray[np.int8]) -> int:
    """How many groups (codes from 0) have rows in more than one part."""
    import numpy as np

    if not len(groups):
        return 0
    size = int(groups.max()) + 1
    first = np.full(size, DROPPED, dtype=np.int8)
    last = np.full(size, -1, dtype=np.int8)
    np.minimum.at(first, groups, parts)
    np.maximum.at(last, groups, parts)
    return int((first < last).sum())


# ---- time ------------------------------------------------------------------------------------------


def windows(evidence: Evidence) -> LeakageFinding:
    """Parts follow one another in time, with the embargo between them and no label window across."""
    assert evidence.event_time is not None
    times = evidence.times[evidence.event_time]
    spans = [
        (PARTS[code], int(part.min()), int(part.max()))
        for code in range(DROPPED)
        if len(part := times[evidence.parts == code])
    ]
    for (before, _, last), (after, first, _) in pairwise(spans):
        if last >= first:
            return finding("windows", True, f"{before} and {after} overlap in time")
        if first - last < evidence.embargo:
            return finding("windows", True, f"{after} starts inside the embargo after {before}")
        if last + evidence.label_delay > first:
            return finding("windows", True, f"label windows of {before} reach into {after}")
    return finding("windows", False, f"{len(spans)} parts follow one another in time, label windows included")


def future(evidence: Evidence, name: str) -> LeakageFinding:
    """No row has a time after the as-of time, or none at all."""
    times = evidence.times[name]
    delay = evidence.label_delay if name == evidence.event_time else 0
    late = int((times > evidence.as_of - delay).sum())
    missing = int((times == NEVER).sum())
    what = f"{name} plus the label delay" if delay else name
    return finding(
        f"future.{name}",
        late + missing > 0,
        f"{late} of {len(times)} rows have {what} after the as-of time" + (f", {missing} none" if missing else ""),
    )
