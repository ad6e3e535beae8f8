"""What a champion was trained on, in kilobytes: counts, not rows.

A profile holds one :class:`Numbers` or :class:`Labels` per column. Counting another window on the same
axes (:meth:`Profile.blank`) gives a profile that can be compared with this one and added to its
like: hours add up to a day, files to a data set.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gauntlet.core.column_labels import KEPT, Labels
from gauntlet.core.column_numbers import Moments, Numbers, Tally, numbers

if TYPE_CHECKING:
    from gauntlet.core.rank_base import RankBase

__all__ = [
    "FORMAT",
    "KEPT",
    "Column",
    "Labels",
    "Moments",
    "Numbers",
    "Profile",
    "Tally",
    "blank",
    "blank_numbers",
    "numbers",
]

FORMAT = 1

Column = Numbers | Labels


@dataclass(frozen=True)
class Profile:
    """All columns of a window or a training set, with the champion's importance of each."""

    columns: dict[str, Column]
    rows: int
    importances: dict[str, float]
    segments: dict[str, dict[str, Profile]]
    """Profiles of single segments: segment column, then value."""
    about: dict[str, str]
    """Where the rows came from: model, data set digest, as-of time."""
    scores: Numbers | None = None
    """The champion's scores of rows that its trees have not seen; not among its features, so not a column."""
    pairs: RankBase | None = None
    """Levels, spreads and pairs of the heaviest features' ranks: what goes with what."""

    def weights(self) -> dict[str, float]:
        """Importances as shares that sum to 1; equal shares when none is known."""
        known = {name: max(self.importances.get(name, 0.0), 0.0) for name in self.columns}
        total = sum(known.values())
        if total <= 0:
            return {name: 1.0 / len(known) for name in known}
        return {name: value / total for name, value in known.items()}

    def blank(self) -> Profile:
        """The same axes with nothing counted: what a window is counted on."""
        columns: dict[str, Column] = {name: blank(column) for name, column in self.columns.items()}
        scores = None if self.scores is None else blank_numbers(self.scores)
        return Profile(columns, 0, {}, {}, {}, scores)

    def __add__(self, other: Profile) -> Profile:
        if self.columns.keys() != other.columns.keys():
            raise ValueError("profiles add up only when they have the same columns")
        columns: dict[str, Column] = {}
        for name, mine in self.columns.items():
            theirs = other.columns[name]
            columns[name] = _sum(name, mine, theirs)
        scores = self.scores if self.scores is None or other.scores is None else self.scores + other.scores
        segments = _joined(self, other)
        return Profile(columns, self.rows + other.rows, self.importances, segments, self.about, scores, self.pairs)

    def to_bytes(self) -> bytes:
        """Canonical JSON of the profile."""
        return json.dumps(self._to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def _to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "rows": self.rows,
            "importances": self.importances,
            "about": self.about,
            "columns": {name: _trimmed(column).to_json() for name, column in self.columns.items()},
            "scores": None if self.scores is None else self.scores.to_json(),
            "pairs": None if self.pairs is None else self.pairs.to_json(),
            "segments": {
                column: {value: part._to_json() for value, part in parts.items()}
                for column, parts in self.segments.items()
            },
        }

    @staticmethod
    def from_bytes(content: bytes) -> Profile:
        """The inverse of :meth:`to_bytes`; ``ValueError`` when it is no profile of this format."""
        try:
            return _from_json(json.loads(content))
        except (KeyError, TypeError, AttributeError, zlib.error) as error:
            raise ValueError(f"not a profile: {error!r}") from error


def _from_json(value: Mapping[str, Any]) -> Profile:
    from gauntlet.core.rank_base import RankBase

    if value["format"] != FORMAT:
        raise ValueError(f"profile format {value['format']!r}; this version reads {FORMAT}")
    columns: dict[str, Column] = {
        name: Numbers.from_json(column) if column["kind"] == "numeric" else Labels.from_json(column)
        for name, column in value["columns"].items()
    }
    segments = {
        column: {name: _from_json(part) for name, part in parts.items()} for column, parts in value["segments"].items()
    }
    # Profiles of releases that were made before scores and pairs were kept have none.
    scores = Numbers.from_json(value["scores"]) if value.get("scores") else None
    pairs = RankBase.from_json(value["pairs"]) if value.get("pairs") else None
    return Profile(columns, value["rows"], value["importances"], segments, value["about"], scores, pairs)


def _joined(one: Profile, other: Profile) -> dict[str, dict[str, Profile]]:
    joined: dict[str, dict[str, Profile]] = {}
    for column in one.segments.keys() & other.segments.keys():
        mine, theirs = one.segments[column], other.segments[column]
        joined[column] = {
            value: mine[value] + theirs[value] if value in mine and value in theirs else (mine | theirs)[value]
            for value in sorted(mine.keys() | theirs.keys())
        }
    return joined


def blank(column: Column) -> Column:
    """The same column with nothing counted; rows outside its range will be counted on their own."""
    if isinstance(column, Labels):
        return Labels.blank(column.dtype)
    return blank_numbers(column)


def blank_numbers(column: Numbers) -> Numbers:
    """A numeric column with nothing counted."""
    return Numbers.blank(column.axis, column.dtype, (column.minimum, column.maximum))


def _trimmed(column: Column) -> Column:
    return column.trimmed() if isinstance(column, Labels) else column


def _sum(name: str, one: Column, other: Column) -> Column:
    if isinstance(one, Labels):
        if isinstance(other, Labels):
            return one + other
    elif isinstance(other, Numbers):
        return one + other
    raise ValueError(f"column {name!r} is numeric in one profile and categorical in the other")
