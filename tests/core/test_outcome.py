"""The one fold: absence of evidence is never a pass."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.outcome import SEVERITY, Outcome, worst

outcomes = st.lists(st.sampled_from(list(Outcome)))


def test_the_fold_of_nothing_is_an_error() -> None:
    assert worst([]) is Outcome.ERROR
    assert not worst([]).satisfied


@given(outcomes)
def test_one_that_does_not_satisfy_spoils_all(several: list[Outcome]) -> None:
    assert worst(several).satisfied == (bool(several) and all(outcome.satisfied for outcome in several))


@given(outcomes, outcomes)
def test_the_fold_is_associative_and_ordered(left: list[Outcome], right: list[Outcome]) -> None:
    if left and right:
        assert worst([worst(left), worst(right)]) is worst(left + right)
        assert SEVERITY.index(worst(left + right)) >= SEVERITY.index(worst(left))


def test_severity_orders_every_outcome_once() -> None:
    assert sorted(SEVERITY) == sorted(Outcome)
