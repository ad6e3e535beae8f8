"""Decisions that narrow are a symptom, once there are enough of them and a past."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.diversity import LEAST_PAST, LEAST_ROWS, VALUE, decision_diversity, entropy
from gauntlet.core.outcome import Outcome

PAST = [0.72] * LEAST_PAST


def decisions(share: float, rows: int = 1000) -> list[int]:
    ones = round(share * rows)
    return [1] * ones + [0] * (rows - ones)


@given(st.lists(st.integers(-1, 4), max_size=200))
def test_entropy_lies_between_one_decision_and_all_alike(found: list[int]) -> None:
    kinds = {one for one in found if one != -1}
    assert -1e-12 <= entropy(found) <= (len(kinds).bit_length() if kinds else 0)


def test_the_usual_share_is_no_symptom() -> None:
    look = decision_diversity(decisions(0.2), PAST, 0.5)
    assert (look.outcome, look.symptoms) == (Outcome.PASSED, ())
    assert look.values[VALUE] == pytest.approx(0.7219, abs=1e-4)


def test_nearly_everybody_refused_is_one() -> None:
    look = decision_diversity(decisions(0.01), PAST, 0.5)
    (symptom,) = look.symptoms
    assert (symptom.key, look.outcome) == ("model.diversity", Outcome.FAILED)
    assert "0.081 bits on 1,000" in symptom.sentence
    assert symptom.beyond is not None
    assert symptom.beyond > 1


@pytest.mark.parametrize(
    ("made", "past"), [(decisions(0.01, LEAST_ROWS - 1), PAST), (decisions(0.01), PAST[1:]), ([-1] * 2000, PAST)]
)
def test_too_little_is_no_verdict_and_says_so(made: list[int], past: list[float]) -> None:
    look = decision_diversity(made, past, 0.5)
    assert look.outcome is Outcome.INCONCLUSIVE
    assert look.unjudged == ("model.diversity",)
    assert look.notes


def test_a_model_that_never_decides_otherwise_has_nothing_to_lose() -> None:
    assert decision_diversity(decisions(0.0), [0.0] * LEAST_PAST, 0.5).symptoms == ()
