"""Which gates a challenger must pass, and their limits.

The catalogue is closed: a spec says something about every gate in it, be it ``off: <reason>``. What is left out is
an error, never a gate less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, WrapValidator, create_model, model_serializer, model_validator

from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.gates.config import GateConfig
from gauntlet.core.records.model import Task
from gauntlet.core.registry import did_you_mean, lookup
from gauntlet.core.specs.base import Section

if TYPE_CHECKING:
    from gauntlet.core.specs.profit import ProfitSection
    from gauntlet.core.specs.source import SourceSection

LEAST_REASON = 5
HOW_OFF = 'write "off: <reason>"'


class Off(Section):
    """A gate that is not wanted, and why. In YAML ``"off: <reason>"`` or ``{off: <reason>}``."""

    off: str = Field(min_length=LEAST_REASON)

    @model_serializer
    def _as_text(self) -> str:
        return f"off: {self.off}"


def _read(config: type[GateConfig], name: str, value: Any, _union: Any) -> GateConfig | Off:
    """One gate's value in a spec."""
    reason = _reason(value)
    if reason is not None:
        if len(reason.strip()) < LEAST_REASON:
            raise ValueError(f"{name} is off without a reason; {HOW_OFF} with at least {LEAST_REASON} characters")
        return Off(off=reason.strip())
    if isinstance(value, Off | config):
        return value
    if value is None or isinstance(value, bool | str | int | float):
        raise ValueError(f"{name}: {value!r} is no configuration; give its limits as a mapping, or {HOW_OFF}")
    return config.model_validate(value)


def _reason(value: Any) -> str | None:
    """The reason of a gate that is off; ``None`` when it is not off. YAML 1.1 reads the bare word off as false."""
    if value is False:
        return ""
    if isinstance(value, str) and value.strip().lower().startswith("off"):
        return value.strip()[3:].lstrip(" :-")
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in ("off", False):
        return str(next(iter(value.values())) or "")
    return None


class _Gates(Section):
    """What the section does with its gates; the fields come from the catalogue."""

    holdout_reads: int = Field(ge=1, default=400)
    """Budget: how often gates may read one holdout. Above it their verdicts are inconclusive until it has changed."""

    @model_validator(mode="before")
    @classmethod
    def _closed(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        unknown = sorted(str(name) for name in value if name not in GATES and name != "holdout_reads")
        missing = [name for name in GATES if name not in value]
        complaints = [f"unknown gate {name!r}: {did_you_mean(name, GATES)}" for name in unknown]
        if missing:
            complaints.append(f"missing: {', '.join(missing)}; configure each, or {HOW_OFF}")
        if complaints:
            raise ValueError("; ".join(complaints))
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """The gates that are wanted, in the catalogue's order."""
        return tuple(name for name in GATES if self.wants(name))

    @property
    def off(self) -> dict[str, str]:
        """The gates that are off, with the reason of each."""
        given = {name: getattr(self, name) for name in GATES}
        return {name: value.off for name, value in given.items() if isinstance(value, Off)}

    def wants(self, name: str) -> bool:
        """Whether a gate is on; a :class:`~gauntlet.core.errors.SpecError` for one that does not exist."""
        lookup(GATES, name, "gate")
        return not isinstance(getattr(self, name), Off)

    def config(self, name: str) -> GateConfig:
        """The limits of a gate that is on; a :class:`~gauntlet.core.errors.SpecError` when it is not."""
        wanted: dict[str, GateConfig] = {other: getattr(self, other) for other in self.names}
        return lookup(wanted, name, "gate (or one that is off)")

    @property
    def columns(self) -> tuple[str, ...]:
        """Data columns that the evaluation must carry for the wanted gates: slices, attributes, business columns."""
        named = [column for name in self.names for column in self.config(name).columns]
        return tuple(dict.fromkeys(named))

    @property
    def profit(self) -> ProfitSection | None:
        """What a decision is worth, as ``versus_champion.profit`` says it."""
        return getattr(getattr(self, "versus_champion", None), "profit", None)

    def complaints(self, task: Task, source: SourceSection, *, threshold: bool) -> Iterator[str]:
        """What does not fit the rest of the spec, with the key of each. ``threshold``: whether the model has one."""
        for name in self.names:
            config = self.config(name)
            for complaint in config.complaints(task, source):
                yield f"gates.{name}: {complaint}"
            if config.needs_threshold and task is Task.BINARY and not threshold:
                yield f"gates.{name}: judges decisions, which need training.threshold: a number, profit or f1"


def _field(name: str, config: type[GateConfig]) -> tuple[Any, Any]:
    reader = WrapValidator(partial(_read, config, name), json_schema_input_type=config | Off | str)
    return Annotated[config | Off, reader], Field(description=GATES[name].question)


if TYPE_CHECKING:

    class GatesSection(_Gates):
        """Gate name to its configuration, or ``off: <reason>``. Every gate in the catalogue must appear."""

else:
    GatesSection: type[BaseModel] = create_model(
        "GatesSection",
        __base__=_Gates,
        __module__=__name__,
        __doc__="Gate name to its configuration, or `off: <reason>`. Every gate in the catalogue must appear.",
        **{name: _field(name, gate.config) for name, gate in GATES.items()},
    )
