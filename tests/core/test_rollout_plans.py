"""Named plans are data: what each fills in, and what no plan may be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from gauntlet.core.ab import plan_proportions
from gauntlet.core.errors import SpecError
from gauntlet.core.specs.plans import PLANS
from gauntlet.core.specs.rollout import SHADOW, ABSection, RolloutSection

TEST = {"baseline": 0.12, "change": 0.01}
SAID: dict[str, dict[str, Any]] = {name: {"ab": TEST} if name == "ab" else {} for name in PLANS}


def plan(**said: Any) -> RolloutSection:
    return RolloutSection.model_validate(said)


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_is_whole_and_comes_back_as_it_was_written(name: str) -> None:
    made = plan(plan=name, **SAID[name])
    assert made.stages
    assert all(made.stage(number).hold > timedelta(0) for number in made.stages)
    assert RolloutSection.model_validate(made.model_dump(mode="json")) == made


def test_the_default_is_the_ramp() -> None:
    assert [step.weight for step in plan().steps] == [1, 5, 10, 25, 50, 100]
    assert plan().stages == (0, 1, 2, 3, 4, 5)
    assert (plan().finish, plan().on_new) == ("promote", "queue")


def test_blue_green_is_nothing_and_then_everything() -> None:
    made = plan(plan="blue_green")
    assert [made.stage(number).weight for number in made.stages] == [0, 100]


def test_shadow_only_never_gives_traffic_and_leaves_the_end_to_a_person() -> None:
    made = plan(plan="shadow_only")
    assert (made.stages, made.finish) == ((SHADOW,), "ask")


def test_an_ab_test_runs_until_its_power_analysis_is_met() -> None:
    made = plan(plan="ab", ab={**TEST, "weight": 20})
    (step,) = made.steps
    assert step.weight == 20
    assert step.requests == plan_proportions(0.12, 0.01, share=0.2).canary_n
    assert step.hold == timedelta(days=7)
    assert (made.finish, made.on_max_hold) == ("ask", "extend")
    assert ABSection(baseline=0, change=0.1, sd=1).horizon == 1571


def test_what_is_said_wins() -> None:
    step = {"weight": 30, "hold": "1s", "requests": 1}
    assert [s.weight for s in plan(plan="blue_green", steps=[step]).steps] == [30]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"plan": "ab"}, "say what the test must be able to see"),
        ({"plan": "ab", "ab": {"baseline": 0.1}}, "change"),
        ({"plan": "ab", "ab": {"baseline": 0.1, "change": 0.0}}, "must differ"),
        ({"steps": []}, "nobody ever meets"),
        ({"plan": "shadow_only", "finish": "promote"}, "nobody ever meets"),
        ({"plan": "canary"}, "ramp"),
        ({"metrics": {"Sales": {"margin": 1, "function": "a:b"}}}, "lower case"),
        ({"metrics": {"sales": {"margin": 1}}}, "one of profit, function or sql"),
        ({"metrics": {"sales": {"margin": 1, "function": "a:b", "uri": "x"}}}, "belong to sql"),
        ({"metrics": {"sales": {"margin": 1, "function": "a:b", "bounds": [1, 0]}}}, "must be smaller"),
    ],
)
def test_what_is_no_plan(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        plan(**said)


def test_a_stage_that_has_gone_from_the_plan_is_said() -> None:
    with pytest.raises(SpecError, match="no shadow any more"):
        plan().stage(SHADOW)
    with pytest.raises(SpecError, match="no step 7"):
        plan().stage(6)
