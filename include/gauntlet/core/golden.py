"""Golden rows: inputs with the scores they had in the training process.

They are scored again wherever the model is loaded, and must come out the same: a wrong category
mapping, a reordered feature, another library or a damaged file shows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from random import Random
from typing import Any

from gauntlet.core.encoding import category_text
from gauntlet.core.records.model import Feature, FeatureKind, GoldenSet

Value = float | str | bool | None
Row = dict[str, Value]

SAMPLED = 32
PER_FEATURE = 24
UNSEEN = "(unseen by training)"
RELATIVE_TOLERANCE = 1e-9


def plain_row(row: Mapping[str, Any], features: Sequence[Feature]) -> Row:
    """A raw row reduced to the features, in plain JSON values that encode to the same floats.

    JSON has no infinity: such a value becomes the greatest or least that training saw.
    """
    return {feature.name: _plain(row[feature.name], feature) for feature in features}


def _plain(value: Any, feature: Feature) -> Value:
    if value is None or value != value:
        return None
    if feature.kind is FeatureKind.CATEGORICAL:
        return category_text(value)
    if feature.kind is FeatureKind.BOOLEAN:
        return bool(value)
    number = float(value)
    if isfinite(number):
        return number
    return feature.maximum if number > 0 else feature.minimum


def choose_golden(rows: Sequence[Row], features: Sequence[Feature], seed: int) -> tuple[Row, ...]:
    """Rows that reach what goes wrong: a seeded sample of real ones, and variants of them.

    Variants: all nullable features null, every category unseen, all numbers at their least and
    greatest; and for the first features of each kind, one at a time, null, unseen, least, greatest.
    """
    random = Random(seed)
    sample = [rows[place] for place in sorted(random.sample(range(len(rows)), min(SAMPLED, len(rows))))]
    variants = [
        *_whole_row_variants(sample[0], features),
        *_single_variants(sample, _some(features), random),
    ]
    chosen: dict[tuple[Value, ...], Row] = {}
    for row in [*sample, *variants]:
        chosen.setdefault(tuple(row[feature.name] for feature in features), row)
    return tuple(chosen.values())


def _some(features: Sequence[Feature]) -> list[Feature]:
    kinds = [[feature for feature in features if feature.kind is kind] for kind in FeatureKind]
    return [feature for group in kinds for feature in group[: PER_FEATURE // len(kinds)]]


def _extremes(feature: Feature) -> list[Value]:
    values: list[Value] = [None] if feature.nullable else []
    if feature.kind is FeatureKind.CATEGORICAL:
        return [*values, UNSEEN]
    if feature.kind is FeatureKind.BOOLEAN:
        return [*values, False, True]
    return [*values, feature.minimum, feature.maximum]


def _whole_row_variants(row: Row, features: Sequence[Feature]) -> list[Row]:
    nullable = {feature.name: None for feature in features if feature.nullable}
    unseen = {feature.name: UNSEEN for feature in features if feature.kind is FeatureKind.CATEGORICAL}
    numeric = [feature for feature in features if feature.kind is FeatureKind.NUMERIC]
    low = {feature.name: feature.minimum for feature in numeric}
    high = {feature.name: feature.maximum for feature in numeric}
    return [{**row, **change} for change in (nullable, unseen, low, high)]


def _single_variants(sample: Sequence[Row], features: Sequence[Feature], random: Random) -> list[Row]:
    return [{**random.choice(sample), feature.name: value} for feature in features for value in _extremes(feature)]


def make_golden(rows: Sequence[Row], score: Callable[[Sequence[Row]], Sequence[Sequence[float]]]) -> GoldenSet:
    """Score the rows (one value per class, or one) and keep both.

    The tolerance is for another machine's ``exp``; on the same machine scores are bit-identical.
    """
    scored = [tuple(map(float, values)) for values in score(rows)]
    scores = tuple(max(values) for values in scored)
    largest = max(1.0, *(abs(value) for value in scores))
    return GoldenSet(
        rows=tuple(rows),
        scores=scores,
        tolerance=RELATIVE_TOLERANCE * largest,
        class_scores=tuple(scored) if len(scored[0]) > 1 else None,
    )


def compare_golden(golden: GoldenSet, scores: Sequence[float]) -> str | None:
    """What differs, in one sentence, or ``None``. No rows, or another number of scores, differs."""
    if not golden.rows:
        return "the golden set has no rows"
    if len(scores) != len(golden.scores):
        return f"{len(scores)} scores for {len(golden.scores)} golden rows"
    for row, (expected, score) in enumerate(zip(golden.scores, scores, strict=True)):
        if not isfinite(score) or abs(score - expected) > golden.tolerance:
            return f"golden row {row}: {score!r} here, {expected!r} in training (tolerance {golden.tolerance:g})"
    return None
