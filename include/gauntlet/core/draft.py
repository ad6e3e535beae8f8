"""A first spec for a table nobody has described yet: what the columns look like decides what is proposed.

A draft is a place to start from, and it says so: the contract describes the rows that were seen, limits of the gates
are wide, and every line that only a person can settle carries ``TODO``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from gauntlet.core.errors import SpecError
from gauntlet.core.records.model import Task
from gauntlet.core.registry import did_you_mean

Kind = Literal["integer", "number", "string", "boolean", "timestamp", "date", "other"]

FEW = 20
"""Up to so many values are listed in the contract, and an integer label with so many is taken for classes."""
MOST_CATEGORIES = 200
"""A text column with more values is left out: an identifier or free text, until a person says otherwise."""
NULL_SLACK = 0.05
"""Added to the share of nulls that was seen: five points, as in monitoring."""
VOLUME = 10
"""A pull may have a tenth of the rows seen, or ten times as many."""
TODO = "# TODO:"
CALIBRATION: Mapping[Task, Any] = {
    Task.BINARY: {"ece": 0.05, "slope": [0.7, 1.4]},
    Task.REGRESSION: {"slope": [0.6, 1.6]},
    Task.MULTICLASS: "off: multiclass, log_loss is bounded",
}


@dataclass(frozen=True)
class ColumnFacts:
    """What was seen of one column. ``values``: all of them, sorted, where there are at most :data:`FEW`."""

    name: str
    kind: Kind
    rows: int
    nulls: int
    distinct: int
    least: float | str | None = None
    mean: float | None = None
    deviation: float | None = None
    values: tuple[Any, ...] = ()

    @property
    def null_limit(self) -> float:
        """The share of nulls to allow: none where none was seen."""
        share = self.nulls / self.rows if self.rows else 0.0
        return min(math.ceil((share + NULL_SLACK) * 100) / 100, 1.0) if self.nulls else 0.0


@dataclass(frozen=True)
class Roles:
    """What the person who asks for a draft says of the columns."""

    label: str
    event_time: str | None = None
    key: str | None = None
    entity: str | None = None
    weight: str | None = None
    protected: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """Every column with a role, each once."""
        single = (self.label, self.event_time, self.key, self.entity, self.weight)
        return tuple(dict.fromkeys([name for name in single if name] + [*self.protected, *self.leave_out]))


@dataclass(frozen=True)
class Features:
    """The proposed inputs by encoding, and why each other column is none."""

    numeric: tuple[str, ...]
    boolean: tuple[str, ...]
    categorical: tuple[str, ...]
    left_out: dict[str, str]


def draft(model: str, uri: str, columns: Sequence[ColumnFacts], roles: Roles) -> str:
    """The YAML text of a spec for files at ``uri``.

    Raises:
        SpecError: a named column is not there, the label cannot be learnt, or no column is left as a feature.
    """
    facts = {column.name: column for column in columns}
    for name in roles.named:
        if name not in facts:
            raise SpecError(f"{uri}: no column {name!r}: {did_you_mean(name, facts)}")
    task, features = task_of(facts[roles.label]), features_of(columns, roles)
    parts = (
        _head(model, task),
        _source(uri, task, facts[roles.label], roles, features),
        _contract(columns, roles, features, task),
        _split(task, facts[roles.label], roles),
        _gates(task, facts[roles.label], roles, [facts[name] for name in features.categorical + features.boolean]),
        _rollout(),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def task_of(label: ColumnFacts) -> Task:
    """What a label asks for: two values are binary, few values classes, other numbers regression."""
    if label.nulls == label.rows:
        raise SpecError(f"{label.name}: the label has no value: there is nothing to learn")
    learnable = label.kind in ("string", "integer", "number", "boolean")
    if learnable and label.distinct < 2:
        raise SpecError(f"{label.name}: the label has one value: there is nothing to learn")
    if learnable and label.distinct == 2:
        return Task.BINARY
    if label.kind in ("string", "integer") and label.distinct <= FEW:
        return Task.MULTICLASS
    if label.kind in ("integer", "number"):
        return Task.REGRESSION
    raise SpecError(
        f"{label.name}: a label of type {label.kind} with {label.distinct} values is neither class nor number"
    )


def features_of(columns: Iterable[ColumnFacts], roles: Roles) -> Features:
    """Each column that has no role, by how it would be encoded."""
    kinds: dict[str, list[str]] = {"numeric": [], "boolean": [], "categorical": []}
    left_out = {name: "left out by hand" for name in roles.leave_out}
    for column in columns:
        if column.name in roles.named:
            continue
        reason = _no_feature(column)
        if reason:
            left_out[column.name] = reason
        else:
            kinds[{"boolean": "boolean", "string": "categorical"}.get(column.kind, "numeric")].append(column.name)
    found = Features(tuple(kinds["numeric"]), tuple(kinds["boolean"]), tuple(kinds["categorical"]), left_out)
    if not (found.numeric or found.boolean or found.categorical):
        told = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "there is no other column"
        raise SpecError(f"no column is left as a feature: {told}")
    return found


def _no_feature(column: ColumnFacts) -> str | None:
    if column.nulls == column.rows:
        return "only nulls"
    if column.distinct < 2:
        return "one value only"
    if column.kind in ("timestamp", "date"):
        return "a point in time; derive something that repeats, such as the hour"
    if column.kind == "other":
        return "nested or binary"
    if column.kind == "string" and column.distinct > MOST_CATEGORIES:
        return f"text with {column.distinct} values: an identifier?"
    if column.kind == "integer" and column.distinct == column.rows > FEW:
        return "another value in every row: an identifier?"
    return None


# ---- sections ----------------------------------------------------------------------------------------


def _head(model: str, task: Task) -> Iterator[str]:
    yield f"# Drafted from data. Lines marked {TODO[2:-1]} want a person; `gauntlet config validate` checks the rest."
    name = _text(model)
    yield f"model: {name}"
    yield f"task: {task.value}"
    yield f"description: {name} {TODO} what is predicted, in a sentence"
    yield f"owner: {{team: {name}, email: {_text(f'{model}@example.com')}}} {TODO} who is told at night"
    yield 'schedule: {nightly: "0 2 * * *", drift_check: "30 * * * *"}'


def _source(uri: str, task: Task, label: ColumnFacts, roles: Roles, features: Features) -> Iterator[str]:
    yield "source:"
    yield "  kind: files"
    yield f"  uri: {_text(uri)}"
    if task is Task.BINARY and not _zero_one(label):
        yield f"  positive: {_text(str(label.values[-1]))} {TODO} the value that is the positive class"
    if task is Task.MULTICLASS:
        yield f"  classes: {_text([str(value) for value in label.values])}"
    yield "  columns:"
    yield f"    label: {_text(roles.label)}"
    for name in ("event_time", "key", "entity", "weight"):
        if value := getattr(roles, name):
            yield f"    {name}: {_text(value)}"
    if roles.protected:
        yield f"    protected: {_text(list(roles.protected))}"
    if roles.event_time:
        yield f"  {TODO} label_delay: 7d # how old a row is before its label can be trusted"
    yield "  features:"
    for kind in ("numeric", "boolean", "categorical"):
        if names := getattr(features, kind):
            yield f"    {kind}: {_text(list(names))}"
    for name, reason in features.left_out.items():
        yield f"    # not {_text(name)}: {reason}"


def _contract(columns: Sequence[ColumnFacts], roles: Roles, features: Features, task: Task) -> Iterator[str]:
    rows = columns[0].rows
    yield f"contract: {TODO} this describes the {rows} rows seen; say what must hold"
    yield f"  rows: [{max(rows // VOLUME, 1)}, {rows * VOLUME}]"
    if roles.event_time:
        yield f"  {TODO} freshness: 36h # how old the newest row may be"
    yield "  columns:"
    for column in columns:
        if column.name in features.left_out:
            continue
        rules = {"values": [0, 1]} if column.name == roles.label and task is Task.BINARY else _rules(column, roles)
        yield f"    {_text(column.name)}: {_text(rules)}"


def _rules(column: ColumnFacts, roles: Roles) -> dict[str, Any]:
    rules: dict[str, Any] = {"type": column.kind}
    if column.null_limit:
        rules["max_null"] = column.null_limit
    if column.name == roles.key:
        rules["unique"] = True
    if column.kind == "string" and column.values:
        rules["values"] = list(column.values)
    if column.kind in ("integer", "number") and isinstance(column.least, (int, float)) and column.least >= 0:
        rules["minimum"] = 0
    return rules


def _split(task: Task, label: ColumnFacts, roles: Roles) -> Iterator[str]:
    calibrated = task is Task.BINARY
    kind = "time" if roles.event_time else "random"
    yield f"split: {{kind: {kind}, validation: 0.15, calibration: {0.10 if calibrated else 0}, holdout: 0.20}}"
    yield "training:"
    leaf = min(max(label.rows // 400, 20), 1000)  # small trees: the first run should show the data, not its noise
    yield f"  params: {{learning_rate: 0.05, num_leaves: 15, min_data_in_leaf: {leaf}}}"
    yield "  rounds: 400"
    yield "  early_stopping: 30"
    if calibrated:
        yield "  calibration: isotonic"
        yield f"  threshold: f1 {TODO} or profit, or a number"
    yield "drift: {window: 1d}" if roles.event_time else "drift: {window: 30d}"


def _gates(task: Task, label: ColumnFacts, roles: Roles, groups: Sequence[ColumnFacts]) -> Iterator[str]:
    """The whole catalogue: what wants a word of its own, and every other gate with its defaults."""
    from gauntlet.core.gates.catalogue import GATES

    yield f"gates: {TODO} the whole catalogue with wide limits; tighten them after a first run"
    said = {line.split(":", 1)[0].strip(): line for line in _limited_gates(task, label, roles, groups)}
    for gate in GATES:
        yield said.get(gate, f"  {gate}: {{}}")


def _limited_gates(task: Task, label: ColumnFacts, roles: Roles, groups: Sequence[ColumnFacts]) -> Iterator[str]:
    limits = _limits(task, label)
    yield f"  label_quality: {_text(_label_limits(task, label))}"
    yield f"  absolute_performance: {{metrics: {_text(limits.floor)}}} {TODO} the least that is of use"
    superior = ["primary", "calibration", "freshness"] if task is Task.BINARY else ["primary", "freshness"]
    superior = superior if roles.event_time else [name for name in superior if name != "freshness"]
    yield f"  versus_champion: {{margin: {limits.margin}, superior_on: {_text(superior)}}}"
    yield f"  calibration: {_text(CALIBRATION[task])}"
    yield f"  slices: {_slices(groups, limits)}"
    yield f"  fairness: {_fairness(task, roles)}"
    yield f"  overfit: {{gap: {limits.loss}}}"
    yield f"  robustness: {{noise_loss: {limits.loss}, missing_loss: {limits.missing}}}"
    yield "  latency: {p50_us: 2000, p95_us: 5000, p99_us: 10000}"
    yield f'  approval: "off: nobody is asked" {TODO} or {{approvers: [who may say yes]}}'


@dataclass(frozen=True)
class _Limits:
    """Wide limits in the units of the task's primary metric."""

    floor: dict[str, dict[str, float]]
    slice: dict[str, float]
    margin: float
    loss: float
    missing: float


def _limits(task: Task, label: ColumnFacts) -> _Limits:
    """Ranks: a little better than chance. Losses: a little better than the mean, or than equal shares."""
    if task is Task.BINARY:
        rare = _short(label.mean) if label.mean is not None and _zero_one(label) else 0.05
        return _Limits({"roc_auc": {"minimum": 0.55}, "pr_auc": {"minimum": rare}}, {"minimum": 0.5}, 0.02, 0.05, 0.15)
    scale = math.log(label.distinct) if task is Task.MULTICLASS else (label.deviation or 1.0)
    metric = "log_loss" if task is Task.MULTICLASS else "rmse"
    return _Limits(
        {metric: {"maximum": _short(scale)}},
        {"maximum": _short(1.5 * scale)},
        _short(0.05 * scale),
        _short(0.3 * scale),
        _short(scale),
    )


def _label_limits(task: Task, label: ColumnFacts) -> dict[str, Any]:
    if label.mean is None or task is Task.MULTICLASS:
        return {}
    if task is Task.REGRESSION:
        spread = label.deviation or 1.0
        return {"label_mean": [_short(label.mean - spread), _short(label.mean + spread)]}
    if not _zero_one(label):
        return {}
    return {"positive_rate": [_short(label.mean / 2), _short(min(label.mean * 2, 1 - (1 - label.mean) / 2))]}


def _slices(groups: Sequence[ColumnFacts], limits: _Limits) -> str:
    few = [column for column in groups if 2 <= column.distinct <= FEW]
    if not few:
        return f'"off: no column with few values" {TODO} groups that must not be served badly'
    least = min(few, key=lambda column: column.distinct)
    chosen = {"by": {least.name: {}}, "bounds": limits.slice, "small": "merge"}
    return f"{_text(chosen)} {TODO} groups that must not be served badly"


def _fairness(task: Task, roles: Roles) -> str:
    if roles.protected and task is Task.BINARY:
        return f"{_text({'attributes': list(roles.protected)})} {TODO} favourable: above or below the threshold"
    return f'"off: no protected column is named" {TODO} or name them in source.columns.protected'


def _rollout() -> Iterator[str]:
    yield "rollout:"
    yield f"  steps: {TODO} weights in percent; how long and how many requests each is held"
    for weight in (5, 25, 100):
        yield f"    - {{weight: {weight}, hold: 30m, requests: 500}}"


def _zero_one(label: ColumnFacts) -> bool:
    return label.kind == "boolean" or {float(v) for v in label.values if isinstance(v, (int, float))} == {0.0, 1.0}


def _short(value: float) -> float:
    return float(f"{value:.2g}")


class _OneLine(yaml.SafeDumper):
    """Writes text that has more than one line with its line ends escaped: it stays one line, and may be a key."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if len(text.splitlines()) > 1 or text != text.strip() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_OneLine.add_representer(str, _quoted)


def _text(value: Any) -> str:
    """A value as YAML in one line."""
    text = yaml.dump(
        value, Dumper=_OneLine, default_flow_style=True, allow_unicode=True, sort_keys=False, width=math.inf
    )
    return text.removesuffix("\n").removesuffix("...").rstrip()
