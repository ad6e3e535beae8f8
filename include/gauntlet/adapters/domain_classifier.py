"""Can a model tell the two windows apart? A multivariate check: it sees changes that no single column shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gauntlet.core.ports import DomainResult

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

PARAMS: Mapping[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.1,
    "num_leaves": 15,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.8,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
ROUNDS = 60
FOLDS = 3


@dataclass(frozen=True)
class LightGBMDomainClassifier:
    """Out-of-fold scores of "is this row from the current window?", and what the trees split on."""

    seed: int = 17
    threads: int = 1

    def tell_apart(self, reference: pa.Table, current: pa.Table, features: Sequence[str]) -> DomainResult:
        """Train on both tables; every row is scored by a model that has not seen it.

        Numbers, truth values and categories are used as they are; categories get one code in both tables.
        """
        import lightgbm
        import numpy as np

        matrix, labels = _encoded(reference, current, features)
        origin = np.repeat([0.0, 1.0], [reference.num_rows, current.num_rows])
        fold = np.random.default_rng(self.seed).permutation(len(origin)) % FOLDS
        scores, gains = np.empty(len(origin)), np.zeros(len(features))
        for held in range(FOLDS):
            seen = fold != held
            data = lightgbm.Dataset(
                matrix[seen],
                origin[seen],
                feature_name=[f"f{i}" for i in range(len(features))],
                categorical_feature=labels,
                params=dict(PARAMS),
                free_raw_data=True,
            )
            params = {**PARAMS, "seed": self.seed, "num_threads": self.threads}
            booster = lightgbm.train(params, data, num_boost_round=ROUNDS)
            scores[~seen] = booster.predict(matrix[~seen], num_threads=self.threads)
            gains += booster.feature_importance("gain")
        total = float(gains.sum()) or 1.0
        shares = {name: float(gain) / total for name, gain in zip(features, gains, strict=True)}
        return DomainResult(origin, scores, shares)


def _encoded(reference: pa.Table, current: pa.Table, features: Sequence[str]) -> tuple[NDArray[np.float64], list[int]]:
    """Both tables as one matrix, and the places of its categorical columns."""
    import numpy as np

    columns, labels = [], []
    for place, name in enumerate(features):
        values, is_label = _column(reference[name], current[name])
        columns.append(values)
        if is_label:
            labels.append(place)
    return np.column_stack(columns), labels


def _column(before: pa.ChunkedArray, after: pa.ChunkedArray) -> tuple[NDArray[np.float64], bool]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as of

    plain = [pc.cast(one, one.type.value_type) if of.is_dictionary(one.type) else one for one in (before, after)]
    if of.is_integer(plain[0].type) or of.is_floating(plain[0].type) or of.is_boolean(plain[0].type):
        floats = [
            pc.cast(pc.cast(one, pa.int8()) if of.is_boolean(one.type) else one, pa.float64(), safe=False)
            for one in plain
        ]
        return np.concatenate([one.to_numpy() for one in floats]), False
    texts = pa.chunked_array([chunk for one in plain for chunk in pc.cast(one, pa.string()).chunks])
    codes = texts.combine_chunks().dictionary_encode().indices
    return codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.float64), True
