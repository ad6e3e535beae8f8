"""LightGBM's native text model, checked before LightGBM reads it.

LightGBM aborts the process on many damaged texts and loads others silently with wrong trees
(LightGBM issue 7357). A digest finds every flipped bit of a file that was recorded; this finds what a
digest cannot: a text that was already broken, or made by something else. It checks that every count
agrees with every length, every number is finite, every child, feature and category index exists, and
that each tree is a tree. It takes some milliseconds for 100 trees of 31 leaves and never runs model code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import NoReturn
from urllib.parse import quote, unquote

from gauntlet.core.digest import sha256_bytes
from gauntlet.core.errors import IntegrityError
from gauntlet.core.records.model import FeatureKind, ModelSidecar, Task

VERSION = "v4"
PARAMETERS = b"\nparameters:"
END_OF_TREES = b"\nend of trees\n"
_KEY = re.compile(r"([a-z_]+)=([-+.0-9einf ]*)")
"""A field of a tree. NaN has no place in one, so the least and the greatest number tell whether all are finite."""
_PER_SPLIT = (
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "internal_value",
    "internal_weight",
    "internal_count",
)
_PER_LEAF = ("leaf_value", "leaf_weight", "leaf_count")
_REQUIRED = frozenset({
    "version",
    "num_class",
    "num_tree_per_iteration",
    "label_index",
    "max_feature_idx",
    "objective",
    "feature_names",
    "feature_infos",
    "tree_sizes",
})
_OPTIONAL = frozenset({"average_output", "monotone_constraints"})
_INTEGERS = frozenset({"split_feature", "decision_type", "left_child", "right_child", "internal_count", "leaf_count"})
_CATEGORICAL_BIT = 1
_DECISION_TYPES = frozenset({1, 2, 0, 4, 6, 8, 9, 10})
"""Bit 0: categorical; bit 1: default left; bits 2-3: none, zero or NaN is missing."""
_MAX_LEAVES = 1 << 17


def tree_digest(text: bytes) -> str:
    """SHA-256 of the trees: the text before its ``parameters:``, which tell the number of threads."""
    return sha256_bytes(text.partition(PARAMETERS)[0])


def text_name(name: str) -> str:
    """A feature name as the text can hold it: percent-encoded where LightGBM allows no such character.

    >>> text_name("hours-per-week"), text_name("net income")
    ('hours-per-week', 'net%20income')
    """
    return quote(name, safe="-_.~()/+*=!?@#$&;<>|^'")


def validate_model_text(text: bytes, sidecar: ModelSidecar | None = None) -> None:
    """Check a model's structure, and that it is the one the sidecar describes.

    Raises:
        IntegrityError: names the tree and the field that do not fit.
    """
    header, trees = _sections(text)
    fields = _header(header)
    classes = _count(fields, "num_tree_per_iteration")
    features = _count(fields, "max_feature_idx", least=0) + 1
    _count(fields, "label_index", least=0)
    names = fields["feature_names"].split(" ")
    if len(names) != features or len(set(names)) != features or len(fields["feature_infos"].split(" ")) != features:
        _reject("header", f"{features} features by max_feature_idx, but other counts of names or infos")
    if _count(fields, "num_class") != classes:
        _reject("header", "num_class is not num_tree_per_iteration")
    parsed = list(_split_trees(trees, _integers("header", "tree_sizes", fields["tree_sizes"])))
    if not parsed or len(parsed) % classes:
        _reject("header", f"{len(parsed)} trees for {classes} per iteration")
    infos = fields["feature_infos"].split(" ")
    categorical = [not info.startswith("[") and info != "none" for info in infos]
    for index, tree in enumerate(parsed):
        _check_tree(index, tree, categorical)
    if sidecar is not None:
        _check_sidecar(text, sidecar, fields, names, len(parsed) // classes, categorical)


def feature_names(text: bytes) -> tuple[str, ...]:
    """The feature names of a valid text, decoded, in model order."""
    fields = _header(_sections(text)[0])
    return tuple(unquote(name) for name in fields["feature_names"].split(" "))


# ---- sections --------------------------------------------------------------------------------------


def _reject(where: str, what: str) -> NoReturn:
    raise IntegrityError(f"model text, {where}: {what}; the file is damaged or not one LightGBM {VERSION} wrote")


def _sections(text: bytes) -> tuple[str, str]:
    if not text.startswith(b"tree\n"):
        _reject("first line", "is not 'tree'")
    if not text.isascii():
        _reject("characters", "are not all ASCII")
    body, ended, rest = text.partition(END_OF_TREES)
    if not ended or PARAMETERS not in b"\n" + rest or b"\nend of parameters\n" not in rest:
        _reject("end", "is missing: the text is cut short")
    header, start, trees = body.partition(b"\n\nTree=0\n")
    if not start:
        _reject("trees", "there are none")
    return header.decode("ascii"), (start[2:] + trees + b"\n").decode("ascii")


def _header(header: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in header.split("\n")[1:]:
        key, equals, value = line.partition("=")
        if key in fields:
            _reject("header", f"{key} comes twice")
        if key not in _REQUIRED | _OPTIONAL or (not equals and key != "average_output"):
            _reject("header", f"{line[:40]!r} is no field")
        fields[key] = value
    if missing := _REQUIRED - fields.keys():
        _reject("header", f"{', '.join(sorted(missing))} is missing")
    if fields.get("version") != VERSION:
        _reject("header", f"version {fields.get('version')!r} is not {VERSION}")
    return fields


def _count(fields: Mapping[str, str], key: str, least: int = 1) -> int:
    value = _integers("header", key, fields.get(key, ""))
    if len(value) != 1 or value[0] < least:
        _reject("header", f"{key}={fields.get(key)!r} is no count")
    return value[0]


def _split_trees(trees: str, sizes: Sequence[int]) -> Iterator[dict[str, str]]:
    """Each tree's fields; ``tree_sizes`` says where each begins, as LightGBM itself reads it."""
    place = 0
    for index, size in enumerate(sizes):
        block = trees[place : place + size]
        place += size
        if not block.startswith(f"Tree={index}\n") or not block.endswith("\n\n\n"):
            _reject(f"tree {index}", "does not begin or end where tree_sizes says")
        yield _fields(index, block.rstrip("\n"))
    if place < len(trees):
        _reject("trees", "there are more than tree_sizes says")


def _fields(index: int, block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in block.split("\n")[1:]:
        match = _KEY.fullmatch(line)
        if match is None or match[1] in fields:
            _reject(f"tree {index}", f"{line[:40]!r} is no field, or comes twice")
        fields[match[1]] = match[2]
    return fields


# ---- one tree --------------------------------------------------------------------------------------


def _check_tree(index: int, tree: Mapping[str, str], categorical: Sequence[bool]) -> None:
    where = f"tree {index}"
    leaves = _single(where, tree, "num_leaves")
    if not 1 <= leaves <= _MAX_LEAVES:
        _reject(where, f"num_leaves={leaves}")
    if tree.get("is_linear") != "0":
        _reject(where, "is linear, which training never makes")
    _number(where, "shrinkage", tree.get("shrinkage", ""))
    splits = leaves - 1
    columns = {key: _column(where, tree, key, splits) for key in _PER_SPLIT}
    for key in _PER_LEAF:
        # A tree that is one leaf may come without weight and count.
        if leaves > 1 or tree.get(key):
            _column(where, tree, key, leaves)
    if leaves == 1:
        _column(where, tree, "leaf_value", 1)
    _check_shape(where, columns["left_child"], columns["right_child"], leaves)
    _check_features(where, columns, categorical)
    _check_categories(where, tree, columns)


def _check_shape(where: str, left: Sequence[float], right: Sequence[float], leaves: int) -> None:
    """Every split but the first, and every leaf, is the child of exactly one split before it."""
    once = [*range(-leaves, 0), *range(1, leaves - 1)]
    rising = all(child < 0 or parent < child for side in (left, right) for parent, child in enumerate(side))
    if leaves == 1 or (rising and sorted([*left, *right]) == once):
        return
    _name_wrong_child(where, left, right, leaves)
    _reject(where, "has nodes that nothing leads to")


def _name_wrong_child(where: str, left: Sequence[float], right: Sequence[float], leaves: int) -> None:
    seen_leaves: set[int] = set()
    seen_splits: set[int] = set()
    for parent, children in enumerate(zip(left, right, strict=True)):
        for value in children:
            child = int(value)
            if child >= 0 and not parent < child < leaves - 1:
                _reject(where, f"split {parent} has child {child}")
            if child < 0 and not 0 <= ~child < leaves:
                _reject(where, f"split {parent} has leaf {~child} of {leaves}")
            seen = seen_splits if child >= 0 else seen_leaves
            if child in seen:
                _reject(where, f"node {child} has two parents")
            seen.add(child)


def _check_features(where: str, columns: Mapping[str, Sequence[float]], categorical: Sequence[bool]) -> None:
    for feature, kind in set(zip(columns["split_feature"], columns["decision_type"], strict=True)):
        if not 0 <= feature < len(categorical):
            _reject(where, f"a split is on feature {feature} of {len(categorical)}")
        if kind not in _DECISION_TYPES:
            _reject(where, f"a split has decision_type {kind}")
        if bool(int(kind) & _CATEGORICAL_BIT) != categorical[int(feature)]:
            _reject(where, f"a split's decision_type {kind} is not that of feature {feature}'s kind")


def _check_categories(where: str, tree: Mapping[str, str], columns: Mapping[str, Sequence[float]]) -> None:
    count = _single(where, tree, "num_cat")
    places = [
        threshold
        for threshold, kind in zip(columns["threshold"], columns["decision_type"], strict=True)
        if int(kind) & _CATEGORICAL_BIT
    ]
    if sorted(places) != list(range(count)):
        _reject(where, f"num_cat={count}, but its categorical splits are {places}")
    if not count:
        return
    boundaries = _integers(where, "cat_boundaries", tree.get("cat_boundaries", ""))
    words = _integers(where, "cat_threshold", tree.get("cat_threshold", ""))
    if len(boundaries) != count + 1 or boundaries[0] != 0 or boundaries[-1] != len(words):
        _reject(where, "cat_boundaries do not fit cat_threshold")
    if any(later <= earlier for earlier, later in pairwise(boundaries)):
        _reject(where, "cat_boundaries do not rise")
    if any(not 0 <= word < 1 << 32 for word in words):
        _reject(where, "cat_threshold holds more than 32 bits")


# ---- numbers ---------------------------------------------------------------------------------------


def _single(where: str, tree: Mapping[str, str], key: str) -> int:
    values = _integers(where, key, tree.get(key, ""))
    if len(values) != 1:
        _reject(where, f"{key}={tree.get(key)!r}")
    return values[0]


def _column(where: str, tree: Mapping[str, str], key: str, length: int) -> list[int] | list[float]:
    text = tree.get(key)
    if text is None:
        _reject(where, f"{key} is missing")
    values = _integers(where, key, text) if key in _INTEGERS else _numbers(where, key, text)
    if len(values) != length:
        _reject(where, f"{key} has {len(values)} values, not {length}")
    return values


def _integers(where: str, key: str, text: str) -> list[int]:
    try:
        return list(map(int, text.split(" "))) if text else []
    except ValueError:
        _reject(where, f"{key} holds something that is no integer")


def _numbers(where: str, key: str, text: str) -> list[float]:
    try:
        values = list(map(float, text.split(" "))) if text else []
    except ValueError:
        _reject(where, f"{key} holds something that is no number")
    # "NaN or not" is a split on any number against missing; LightGBM writes its threshold as infinity.
    if key != "threshold" and values and not (isfinite(min(values)) and isfinite(max(values))):
        _reject(where, f"{key} holds a number that is not finite")
    return values


def _number(where: str, key: str, text: str) -> float:
    values = _numbers(where, key, text)
    if len(values) != 1:
        _reject(where, f"{key}={text!r}")
    return values[0]


# ---- against the sidecar ---------------------------------------------------------------------------


def _check_sidecar(
    text: bytes,
    sidecar: ModelSidecar,
    fields: Mapping[str, str],
    names: Sequence[str],
    iterations: int,
    categorical: Sequence[bool],
) -> None:
    expected = [text_name(feature.name) for feature in sidecar.features]
    if list(names) != expected:
        place = next((i for i, pair in enumerate(zip(names, expected, strict=False)) if pair[0] != pair[1]), len(names))
        _reject("feature_names", f"are not those of the sidecar, in its order, from feature {place} on")
    for feature, is_categorical in zip(sidecar.features, categorical, strict=True):
        if is_categorical and feature.kind is not FeatureKind.CATEGORICAL:
            _reject("feature_infos", f"feature {feature.name!r} is categorical here and {feature.kind} in the sidecar")
    if fields["objective"].split(" ")[0] != sidecar.objective:
        _reject("objective", f"{fields['objective']!r} is not the sidecar's {sidecar.objective!r}")
    if _count(fields, "num_class") != len(
        sidecar.classes if sidecar.task is Task.MULTICLASS and sidecar.classes else "1"
    ):
        _reject("num_class", "is not the number of classes of the sidecar")
    if iterations != sidecar.best_iteration:
        _reject("trees", f"{iterations} iterations, but {sidecar.best_iteration} in the sidecar")
    if tree_digest(text) != sidecar.tree_digest:
        _reject("trees", "their digest is not the sidecar's")
