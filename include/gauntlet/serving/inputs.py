"""From a request's row to the float vector a version scores, by name, under the input policy.

Two ways with one result. The *strict* way is for rows exactly as training saw them: typed decoding in
C and two scans. Whatever it does not take goes the *checked* way, which says for each feature what
is wrong with it, and rejects or counts as the policy says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite, nan
from operator import gt, lt
from typing import Annotated, Any

import msgspec

from gauntlet.core.encoding import category_codes, category_text
from gauntlet.core.errors import GauntletError
from gauntlet.core.records.model import Feature, FeatureKind
from gauntlet.core.specs.serving import InputPolicy

Row = Mapping[str, Any]
Vector = list[Any]
Deviations = list[tuple[str, str]]
"""(feature, kind of deviation) pairs that were accepted and are to be counted."""

_STRICT_TYPES: dict[FeatureKind, Any] = {
    FeatureKind.NUMERIC: float,
    FeatureKind.BOOLEAN: bool,
    FeatureKind.CATEGORICAL: str,
}
_EXPECTED = {
    FeatureKind.NUMERIC: "a number",
    FeatureKind.BOOLEAN: "true or false",
    FeatureKind.CATEGORICAL: "text",
}


class InputRejected(GauntletError):
    """A row that the policy does not let through. Answered with 422."""

    def __init__(self, feature: str, kind: str, detail: str, row: int | None = None) -> None:
        self.feature, self.kind, self.detail, self.row = feature, kind, detail, row
        where = "" if row is None else f"row {row}: "
        super().__init__(f"{where}{feature}: {detail}")


class MalformedBody(GauntletError):
    """A body that is not the JSON this endpoint takes. Answered with 400 or 422."""


class Irregular(Exception):
    """The strict way does not take this row; not an error."""


class Encoder:
    """Encodes rows for one version: features in signature order, categories as their codes, NaN for missing."""

    def __init__(self, features: Sequence[Feature], policy: InputPolicy) -> None:
        """Compile the signature."""
        self.features = tuple(features)
        self.names = tuple(feature.name for feature in features)
        self.policy = policy
        self._known = frozenset(self.names)
        self._codes = [
            (index, _codes(feature)) for index, feature in enumerate(features) if feature.categories is not None
        ]
        self._codes_by_name = {features[index].name: codes for index, codes in self._codes}
        self._lows = [_bound(feature.minimum, -inf) for feature in features]
        self._highs = [_bound(feature.maximum, inf) for feature in features]
        numbers = [index for index, feature in enumerate(features) if feature.categories is None]
        self._nullable = frozenset(index for index in numbers if features[index].nullable)
        self._some_nullable = bool(self._nullable)

    def strict(self, values: Vector, *, in_range: bool) -> Vector:
        """Encode typed values in signature order, in place; :class:`Irregular` when there is anything to remark.

        ``in_range``: the decoder has already compared them with this signature's ranges.
        """
        for index, codes in self._codes:
            code = codes.get(values[index])
            if code is None:
                raise Irregular
            values[index] = code
        if self._some_nullable and None in values:
            values = self._without_nulls(values)
        if not in_range and (any(map(lt, values, self._lows)) or any(map(gt, values, self._highs))):
            raise Irregular
        return values

    def _without_nulls(self, values: Vector) -> Vector:
        for index, value in enumerate(values):
            if value is None:
                if index not in self._nullable:
                    raise Irregular
                values[index] = nan
        return values

    def checked(self, row: Row, deviations: Deviations, ignored: frozenset[str] = frozenset()) -> Vector:
        """Encode a row of raw JSON values; :class:`InputRejected` names the feature."""
        if self.policy.extra != "ignore":
            for name in row.keys() - self._known - ignored:
                self._remark(name, "extra", "is not a feature of this model", deviations)
        return [self._value(feature, row, deviations) for feature in self.features]

    def _value(self, feature: Feature, row: Row, deviations: Deviations) -> float:
        name = feature.name
        if name not in row:
            self._remark(name, "missing", f"is missing; expected {_EXPECTED[feature.kind]}", deviations)
            return nan
        value = row[name]
        if value is None:
            if not feature.nullable:
                self._remark(name, "null", "is null, and was never null in training", deviations)
            return nan
        if feature.kind is FeatureKind.CATEGORICAL:
            return self._category(feature, value, deviations)
        return self._number(feature, value, deviations)

    def _number(self, feature: Feature, value: Any, deviations: Deviations) -> float:
        boolean = feature.kind is FeatureKind.BOOLEAN
        fits = isinstance(value, bool) or value in (0, 1) if boolean else isinstance(value, (int, float))
        if not fits:
            detail = f"is {_shown(value)}; expected {_EXPECTED[feature.kind]}"
            self._remark(feature.name, "wrong_type", detail, deviations)
            return nan
        number = _float(value)
        if not isfinite(number):
            self._remark(feature.name, "nan", f"is {number}; write null for a missing value", deviations)
            return nan if number != number else number
        low, high = _bound(feature.minimum, -inf), _bound(feature.maximum, inf)
        if not low <= number <= high:
            detail = f"is {number:g}, outside the range of training [{low:g}, {high:g}]"
            self._remark(feature.name, "out_of_range", detail, deviations)
        return number

    def _category(self, feature: Feature, value: Any, deviations: Deviations) -> float:
        if isinstance(value, (dict, list)):
            self._remark(feature.name, "wrong_type", f"is {_shown(value)}; expected text", deviations)
            return nan
        code = self._codes_by_name[feature.name].get(category_text(value))
        if code is None:
            self._remark(feature.name, "unseen_category", f"is {_shown(value)}, a category not in training", deviations)
            return nan
        return code

    def _remark(self, name: str, kind: str, detail: str, deviations: Deviations) -> None:
        if getattr(self.policy, kind) == "reject":
            raise InputRejected(name, kind, detail)
        deviations.append((name, kind))


class RequestDecoder:
    """Typed decoding of request bodies for the versions that may answer them.

    The ranges of the first version are checked while decoding, in C.
    """

    def __init__(self, encoders: Sequence[Encoder], entity: str | None, *, ignore_extra: bool) -> None:
        """The first encoder's features are required in strict rows, the others' are optional."""
        fields, agreed = _fields(encoders, entity)
        names = [name for name, _ in fields]
        self.names = tuple(names)
        self._entity = f"f{names.index(entity)}" if entity is not None else None
        self.ranged = [agreed and encoder.features == encoders[0].features for encoder in encoders]
        """Per version, whether decoding has checked its ranges."""
        self._orders = [[names.index(name) for name in encoder.names] for encoder in encoders]
        self._straight = [order == list(range(len(order))) for order in self._orders]
        row = msgspec.defstruct(
            "Row",
            [(f"f{i}", *field) for i, (_, field) in enumerate(fields)],
            rename={f"f{i}": name for i, name in enumerate(names)},
            forbid_unknown_fields=not ignore_extra,
            kw_only=True,
            gc=False,
        )
        request = msgspec.defstruct("Request", _request_fields(row), forbid_unknown_fields=True, kw_only=True)
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(request).decode
        """A typed request of a body, or msgspec's error: then the checked way has to look."""
        self._astuple = msgspec.structs.astuple

    def values(self, row: Any, version: int = 0) -> Vector:
        """A typed row's values in the order of one of the encoders."""
        values = self._astuple(row)
        order = self._orders[version]
        return list(values[: len(order)]) if self._straight[version] else [values[place] for place in order]

    def plain(self, row: Any) -> dict[str, Any]:
        """A typed row as the client wrote it, for the checked way."""
        named = zip(self.names, self._astuple(row), strict=True)
        return {name: _unwrapped(value) for name, value in named if value is not msgspec.UNSET}

    def entity(self, row: Any) -> Any:
        """The entity column of a typed row, or ``None``."""
        value = None if self._entity is None else getattr(row, self._entity)
        return None if value is msgspec.UNSET else value


def _unwrapped(value: Any) -> Any:
    return json.loads(bytes(value)) if isinstance(value, msgspec.Raw) else value


def entity_text(entity: Any) -> str | None:
    """How an entity key is written for the split: 7, 7.0 and "7" are the same entity."""
    if entity is None or isinstance(entity, str):
        return entity
    if isinstance(entity, float) and entity.is_integer():
        entity = int(entity)
    return category_text(entity)


def entity_of(row: Mapping[str, Any], column: str | None, index: int) -> str | None:
    """A row's entity key, from its entity column."""
    entity = None if column is None else row.get(column)
    if isinstance(entity, (dict, list)):
        raise InputRejected(column or "entity", "wrong_type", "is no text or number", index)
    return entity_text(entity)


def parse_lenient(body: bytes) -> Any:
    """Any JSON, also with the NaN and Infinity literals that some clients write."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None


def _codes(feature: Feature) -> dict[str | None, float]:
    codes: dict[str | None, float] = dict(category_codes(feature).items())
    if feature.nullable:
        codes[None] = nan
    return codes


def _bound(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _fields(encoders: Sequence[Encoder], entity: str | None) -> tuple[list[tuple[str, tuple[Any, ...]]], bool]:
    """Each field's type and default, and whether the versions agree on all types."""
    fields: dict[str, tuple[Any, ...]] = {}
    agreed = True
    for encoder in encoders:
        for feature in encoder.features:
            strict: Any = _STRICT_TYPES[feature.kind]
            if feature.nullable:
                strict = strict | None
            if encoder is encoders[0]:
                fields[feature.name] = (_ranged(feature),)
            elif feature.name not in fields:
                fields[feature.name] = (strict | None | msgspec.UnsetType, msgspec.UNSET)
            elif not _same_type(encoders[0], feature):
                # Versions disagree on its type: what is not decoded is left to the checked way.
                fields[feature.name] = (msgspec.Raw, *fields[feature.name][1:])
                agreed = False
    if entity is not None and entity not in fields:
        fields[entity] = (str | int | float | None | msgspec.UnsetType, msgspec.UNSET)
    return list(fields.items()), agreed


def _ranged(feature: Feature) -> Any:
    """The strict type of a feature, with its range."""
    strict: Any = _STRICT_TYPES[feature.kind]
    if feature.kind is FeatureKind.NUMERIC and (feature.minimum is not None or feature.maximum is not None):
        strict = Annotated[float, msgspec.Meta(ge=feature.minimum, le=feature.maximum)]
    return strict | None if feature.nullable else strict


def _same_type(encoder: Encoder, feature: Feature) -> bool:
    """Whether the strict type that one version gives a feature will do for another."""
    first = encoder.features[encoder.names.index(feature.name)]
    return (first.kind, first.nullable) == (feature.kind, feature.nullable)


def _request_fields(row: Any) -> list[tuple[str, Any, Any]]:
    key: Any = str | int | float | None
    return [
        ("row", row | msgspec.UnsetType, msgspec.UNSET),
        ("rows", list[row] | msgspec.UnsetType, msgspec.UNSET),
        ("entity", key, None),
        ("entities", list[key] | None, None),
        ("request_id", str | None, None),
        ("model", str | None, None),
    ]
