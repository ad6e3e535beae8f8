"""Families of column types: what a profile calls a column's type."""

from __future__ import annotations

FAMILIES = {"integer": "number", "float": "number", "decimal": "number"}


def family(dtype: str) -> str:
    """Types between which values keep their meaning.

    >>> family("integer") == family("float")
    True
    """
    return FAMILIES.get(dtype, dtype)


def joined(one: str, one_rows: int, other: str, other_rows: int) -> str:
    """The type of two parts of a column; both names where no value of one would be one of the other.

    >>> joined("integer", 5, "float", 5), joined("null", 5, "string", 5), joined("string", 5, "float", 0)
    ('float', 'string', 'string')
    >>> joined("float", 5, "string", 5)
    'float and string'
    """
    if one == other or not other_rows or (other == "null" and one_rows):
        return one
    if not one_rows or one == "null":
        return other
    return "float" if family(one) == family(other) else " and ".join(sorted({one, other}))
