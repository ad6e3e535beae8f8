"""A new champion is taken back for what it does, not for what was wrong before it or seen once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.monitoring import Layer, LayerReport, Severity, Symptom
from gauntlet.core.recovery import harm_since
from gauntlet.core.specs.recovery import RecoverySection

PROMOTED = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLAN = RecoverySection(automatic=("service",))


def look(hours: float, *keys: str, severity=Severity.PAGE, outcome=Outcome.FAILED, layer=Layer.SERVICE) -> LayerReport:
    symptoms = tuple(
        Symptom(key=key, layer=layer, severity=severity, outcome=outcome, sentence=f"{key} is high") for key in keys
    )
    return LayerReport(
        model="m",
        run=f"r{hours}",
        layer=layer,
        outcome=Outcome.FAILED if keys else Outcome.PASSED,
        reason="looked",
        symptoms=symptoms,
        since=None,
        until=PROMOTED + hours * HOUR,
        at=PROMOTED + hours * HOUR,
    )


def harm(*looks: LayerReport, plan: RecoverySection = PLAN, after: float = 3) -> str | None:
    return harm_since(plan, PROMOTED, {Layer.SERVICE: looks}, PROMOTED + after * HOUR)


def test_the_same_new_symptom_twice_is_harm() -> None:
    said = harm(look(2, "errors"), look(-1), look(1, "errors"))
    assert said == "service: errors is high, in 2 looks since the promotion and not in the last before it"


@pytest.mark.parametrize(
    "looks",
    [
        (look(-1), look(1, "errors")),  # seen once
        (look(-1), look(1), look(2, "errors")),  # not in both
        (look(-1), look(1, "errors"), look(2)),  # over
        (look(-1), look(1, "errors"), look(2, "latency")),  # not the same
        (look(-1, "errors"), look(1, "errors"), look(2, "errors")),  # the champion before had it
        (look(1, "errors"), look(2, "errors")),  # nobody looked before
        (look(-1), look(1, "errors", severity=Severity.WARNING), look(2, "errors", severity=Severity.WARNING)),
        (look(-1), look(1, "errors", outcome=Outcome.ERROR), look(2, "errors", outcome=Outcome.ERROR)),
        (),
    ],
)
def test_anything_less_is_for_a_person(looks) -> None:
    assert harm(*looks) is None


def test_a_look_before_that_could_not_tell_says_nothing_of_the_champion_before() -> None:
    quiet = look(-1).model_copy(update={"outcome": Outcome.INCONCLUSIVE, "unjudged": ("errors",)})
    since = (look(1, "errors"), look(2, "errors"))
    assert harm(quiet, *since) is None
    assert harm(look(-2), quiet, *since) is not None
    assert harm(look(-2, "errors"), quiet, *since) is None


def test_what_was_over_before_the_promotion_is_new() -> None:
    assert harm(look(-2, "errors"), look(-1), look(1, "errors"), look(2, "errors")) is not None


def test_only_layers_the_spec_names_and_only_for_a_while() -> None:
    looks = (look(-1), look(1, "errors"), look(2, "errors"))
    assert harm(*looks, plan=RecoverySection()) is None
    assert harm(*looks, plan=RecoverySection(automatic=("model",))) is None
    assert harm(*looks, after=24.1) is None
    assert harm(*looks, plan=RecoverySection(automatic=("service",), looks=3)) is None
    assert harm(*looks, look(3, "errors"), plan=RecoverySection(automatic=("service",), looks=3)) is not None
