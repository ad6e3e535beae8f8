"""Why two trainings from the same manifest gave different trees, pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest

from gauntlet.core.model_text import PARAMETERS

TREE = b"\nTree="
SHOWN = 5


def origin_differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Which facts about code, packages and machine have changed.

    >>> origin_differences({"lightgbm": "4.6.0", "numpy": "2"}, {"lightgbm": "4.7.0", "numpy": "2"})
    ['lightgbm was 4.6.0, is 4.7.0']
    """
    return [
        f"{name} was {then.get(name, 'not recorded')}, is {now.get(name, 'not known')}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def text_differences(then: bytes, now: bytes) -> list[str]:
    """Where two model texts differ before their parameters, and which parameters do."""
    (trees_then, _, tail_then), (trees_now, _, tail_now) = then.partition(PARAMETERS), now.partition(PARAMETERS)
    return [*_trees(trees_then, trees_now), *_parameters(tail_then, tail_now)]


def _trees(then: bytes, now: bytes) -> Iterator[str]:
    head_then, *parts_then = then.split(TREE)
    head_now, *parts_now = now.split(TREE)
    if len(parts_then) != len(parts_now):
        yield f"{len(parts_then)} trees were recorded, {len(parts_now)} came out"
    # The header lists each tree's size: it differs whenever a tree does.
    yield from _lines("header", head_then, head_now, but=(b"tree_sizes",))
    places = enumerate(zip(parts_then, parts_now, strict=False))
    first = next((place for place, (one, other) in places if one != other), None)
    if first is not None:
        yield f"the first tree that differs is number {first}"


def _parameters(then: bytes, now: bytes) -> Iterator[str]:
    yield from _lines("parameter", then.partition(b"end of parameters")[0], now.partition(b"end of parameters")[0])


def _lines(what: str, then: bytes, now: bytes, but: tuple[bytes, ...] = ()) -> Iterator[str]:
    pairs = [
        (one, other)
        for one, other in zip_longest(then.split(b"\n"), now.split(b"\n"), fillvalue=b"")
        if one != other and not one.startswith(but or b"\0")
    ]
    for one, other in pairs[:SHOWN]:
        yield f"{what}: {_short(one)} was recorded, {_short(other)} came out"
    if len(pairs) > SHOWN:
        yield f"{what}: {len(pairs) - SHOWN} more lines differ"


def _short(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
