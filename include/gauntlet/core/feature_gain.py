"""How much each feature gave the trees, read from LightGBM's own model text."""

from __future__ import annotations

from collections.abc import Sequence

SPLITS, GAINS = b"split_feature=", b"split_gain="


def gain_shares(text: bytes, features: Sequence[str]) -> dict[str, float]:
    """Share of the total gain per feature, in model order; all 0 when no tree splits.

    ``text`` is a model text that was checked (:func:`gauntlet.core.model_text.validate_model_text`).
    """
    gains = [0.0] * len(features)
    indices: list[int] = []
    for line in text.split(b"\nparameters:", 1)[0].splitlines():
        if line.startswith(SPLITS):
            indices = [int(value) for value in line[len(SPLITS) :].split()]
        elif line.startswith(GAINS):
            for index, gain in zip(indices, line[len(GAINS) :].split(), strict=True):
                gains[index] += float(gain)
    total = sum(gains)
    return {name: gain / total if total else 0.0 for name, gain in zip(features, gains, strict=True)}
