"""Look-ups in literal registries: an unknown kind is an error that lists the valid ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from gauntlet.core.errors import SpecError

T = TypeVar("T")


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest valid one, then all valid ones.

    >>> did_you_mean("latncy", ["latency", "size"])
    "did you mean 'latency'? valid: latency, size"
    """
    names = sorted(valid)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}valid: {', '.join(names)}"


def lookup(registry: Mapping[str, T], name: str, what: str) -> T:
    """The entry called ``name``, or a :class:`SpecError` that says which names exist."""
    try:
        return registry[name]
    except KeyError:
        raise SpecError(f"unknown {what} {name!r}: {did_you_mean(name, registry)}") from None
