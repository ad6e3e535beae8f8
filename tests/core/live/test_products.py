"""Product metrics: non-inferior within a margin, in pairs where a value follows from a score, else between arms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gauntlet.core.judge import metrics_of
from gauntlet.core.live.products import product
from gauntlet.core.live.window import Product
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.model import Task
from gauntlet.core.specs.rollout import ProductMetric, ShadowSection, StepSection

PASSED, FAILED, INCONCLUSIVE = Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE


def metric(**said: Any) -> ProductMetric:
    return ProductMetric(**{"function": "shop:clicks", "margin": 0.03, **said})


def clicks(window: Any, rate: float, *, canary: float | None = None, share: float = 0.5, n: int = 8000) -> Any:
    """Values of each arm's own requests."""

    def values(drawn: dict[str, Any], rng: np.random.Generator) -> dict[str, Product]:
        wanted = np.where(drawn["arm"], rate if canary is None else canary, rate)
        hit = (rng.random(n) < wanted).astype(float)
        return {"clicks": Product(np.where(drawn["arm"], np.nan, hit), np.where(drawn["arm"], hit, np.nan))}

    return window(n, share, 3, products=values)


def judged(window: Any, case: Any, **said: Any) -> Any:
    (verdict,) = product("clicks", metric(**said))(window, case)
    return verdict


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_the_same_rate_passes_and_a_loss_beyond_the_margin_fails(window: Any, case: Any, bounds: Any) -> None:
    assert judged(clicks(window, 0.2), case(), bounds=bounds).outcome is PASSED
    lost = judged(clicks(window, 0.3, canary=0.1), case(), bounds=bounds)
    assert lost.outcome is FAILED
    assert lost.stable - lost.canary > 0.15
    assert "loss +" in lost.sentence


def test_which_way_is_better_is_said(window: Any, case: Any) -> None:
    more = clicks(window, 0.1, canary=0.3)
    assert judged(more, case()).outcome is PASSED
    assert judged(more, case(), better="lower").outcome is FAILED
    assert judged(more, case(), better="lower", bounds=(0.0, 1.0)).outcome is FAILED


def test_a_loss_without_proof_is_waited_on(window: Any, case: Any) -> None:
    few = judged(clicks(window, 0.3, canary=0.2, n=300), case())
    assert few.outcome is INCONCLUSIVE
    assert few.interval[0] < 0.03


def test_pairs_need_far_fewer_requests(window: Any, case: Any) -> None:
    """Profit of both versions' decisions on the same 400 requests, where the challenger gives up 0.05 of each."""

    def both(drawn: dict[str, Any], rng: np.random.Generator) -> dict[str, Product]:
        profit = rng.normal(1, 3, 400)
        return {"clicks": Product(profit, profit - 0.05 + rng.normal(0, 0.01, 400))}

    assert judged(window(400, 0.05, products=both), case()).outcome is FAILED


def test_units_count_once_however_often_they_come(window: Any, case: Any) -> None:
    """Two people send everything: two values, whatever they do."""

    def one(drawn: dict[str, Any], _: np.random.Generator) -> dict[str, Product]:
        return {"clicks": Product(np.where(drawn["arm"], np.nan, 1.0), np.where(drawn["arm"], 0.0, np.nan))}

    told = window(1000, 0.5, unit=lambda drawn, _: drawn["arm"].astype(int), products=one)
    verdict = judged(told, case())
    assert (verdict.outcome, verdict.stable_n, verdict.canary_n) == (INCONCLUSIVE, 1, 1)


def test_too_few_values_and_values_that_could_not_be_had_never_pass(window: Any, case: Any) -> None:
    assert judged(clicks(window, 0.2, n=40), case()).outcome is INCONCLUSIVE
    broken = window(100, products={"clicks": Product(np.empty(0), np.empty(0), "no such table: orders")})
    assert judged(broken, case()).outcome is Outcome.ERROR
    assert "orders" in judged(broken, case()).sentence
    assert judged(window(100), case()).outcome is Outcome.ERROR


def test_under_the_margin_a_good_challenger_is_left_alone_at_every_look(window: Any, case: Any) -> None:
    """At the margin itself: 20 looks at each of 40 rollouts, level 5 %."""
    failed = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        arm = rng.random(3000) < 0.5
        hit = (rng.random(3000) < np.where(arm, 0.17, 0.20)).astype(float)
        looks = []
        for n in range(150, 3001, 150):
            values = Product(np.where(arm, np.nan, hit)[:n], np.where(arm, hit, np.nan)[:n])
            told = window(n, 0.5, arm=arm[:n], products={"clicks": values})
            looks.append(judged(told, case(alpha=0.05)).outcome is FAILED)
        failed += any(looks)
    assert failed <= 6  # 2 expected at most; 6 is the 99.5 % point of Binomial(40, 0.05)


def test_who_reads_labels_is_judged_where_there_are_labels_and_with_one_arm_only_in_pairs() -> None:
    from gauntlet.core.specs.profit import ProfitSection

    products = {
        "clicks": metric(),
        "margin": metric(columns=("price",)),
        "profit": ProductMetric(profit=ProfitSection(gain=1.0, loss=2.0), margin=0.1),
    }
    step = StepSection(weight=5, hold="1s", requests=1)
    late = StepSection(weight=5, hold="1s", requests=1, labels=5)
    shadow = ShadowSection(hold="1s", requests=1, labels=5)
    whole = StepSection(weight=100, hold="1s", requests=1, labels=5)
    found = [set(metrics_of(stage, Task.BINARY, products)) & set(products) for stage in (step, late, shadow, whole)]
    assert found == [{"clicks"}, {"clicks", "margin", "profit"}, {"profit"}, {"profit"}]
