"""A categorical column, counted by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.dtypes import joined

KEPT = 2000
"""Most frequent categories that are kept by name; the rest is a tail with its size."""
NAMED_ROWS = 5
"""A name is stored only where it stands for so many rows: identifiers of single rows never are."""


@dataclass(frozen=True)
class Labels:
    """A categorical or boolean column: rows per category; rare ones beyond :data:`KEPT` are a tail."""

    dtype: str
    rows: int
    missing: int
    counts: dict[str, int]
    tail_rows: int = 0
    tail_categories: int = 0
    singletons: int = 0
    """Categories with exactly one row: they announce how many are still unseen (Good 1953)."""

    kind: ClassVar = "categorical"

    @staticmethod
    def blank(dtype: str) -> Labels:
        """Nothing counted yet."""
        return Labels(dtype, 0, 0, {})

    def counted(self, codes: NDArray[np.integer[Any]], names: Sequence[str], missing: int = 0) -> Labels:
        """With further rows, given as indices into ``names``; negative indices are missing."""
        found = np.bincount(codes[codes >= 0] if len(codes) and codes.min() < 0 else codes, minlength=len(names))
        counts = dict(self.counts)
        for index in np.flatnonzero(found).tolist():
            counts[names[index]] = counts.get(names[index], 0) + int(found[index])
        rows = len(codes) + missing
        return replace(self, rows=self.rows + rows, missing=self.missing + rows - int(found.sum()), counts=counts)

    def __add__(self, other: Labels) -> Labels:
        """Both together. A name that was stored in one of them only is short of what the other had in its tail."""
        counts = dict(self.counts)
        for name, n in other.counts.items():
            counts[name] = counts.get(name, 0) + n
        return replace(
            self,
            dtype=joined(self.dtype, self.rows, other.dtype, other.rows),
            rows=self.rows + other.rows,
            missing=self.missing + other.missing,
            counts=counts,
            tail_rows=self.tail_rows + other.tail_rows,
            tail_categories=max(self.tail_categories, other.tail_categories),
            singletons=self.singletons + other.singletons,
        )

    @property
    def valid(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def rare(self) -> int:
        """Categories seen once, in the tail or out of it."""
        return self.singletons + sum(1 for n in self.counts.values() if n == 1)

    def trimmed(self, kept: int = KEPT, least: int = NAMED_ROWS) -> Labels:
        """With only the ``kept`` most frequent categories by name, of ``least`` rows each; truth values have all."""
        if self.dtype == "boolean":
            return self
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        kept = min(kept, sum(1 for _, n in ranked if n >= least))
        tail = ranked[kept:]
        if not tail:
            return self
        return replace(
            self,
            counts=dict(ranked[:kept]),
            tail_rows=self.tail_rows + sum(n for _, n in tail),
            tail_categories=self.tail_categories + len(tail),
            singletons=self.singletons + sum(1 for _, n in tail if n == 1),
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON form."""
        return {
            "kind": self.kind,
            "dtype": self.dtype,
            "rows": self.rows,
            "missing": self.missing,
            "counts": self.counts,
            "tail_rows": self.tail_rows,
            "tail_categories": self.tail_categories,
            "singletons": self.singletons,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Labels:
        """The inverse of :meth:`to_json`."""
        return Labels(**{key: item for key, item in value.items() if key != "kind"})
