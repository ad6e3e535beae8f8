"""Who may do what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.roles import POLICY, ROLES, Action, permitted, with_overrides


def test_every_action_is_for_somebody_and_for_admins() -> None:
    assert set(POLICY) == set(Action)
    for action in Action:
        assert permitted(action, ["admin"]).permitted, action
        assert not permitted(action, ["viewer"]).permitted, action


def test_towards_safety_is_for_more_than_towards_production() -> None:
    for safe in (Action.ROLL_BACK, Action.STOP_LINE, Action.PAUSE):
        assert set(POLICY[safe]) > set(POLICY[Action.PROMOTE])


@given(st.sampled_from(list(Action)), st.lists(st.sampled_from([*ROLES, "Admin", "OP", "Public"])))
def test_one_role_that_may_is_enough_and_none_is_never(action: Action, roles: list[str]) -> None:
    decision = permitted(action, roles)
    assert decision.permitted == any(role.casefold() in POLICY[action] for role in roles)
    assert decision.reason.startswith(str(action))


@given(st.text(), st.lists(st.text()))
def test_what_the_policy_does_not_name_is_for_nobody(action: str, roles: list[str]) -> None:
    if action not in set(Action):
        assert not permitted(action, [*roles, "admin"]).permitted


def test_a_policy_of_its_own_replaces_single_actions() -> None:
    policy = with_overrides({"waive": ["risk"]})
    assert permitted(Action.WAIVE, ["Risk"], policy).permitted
    assert not permitted(Action.WAIVE, ["admin"], policy).permitted
    assert permitted(Action.APPROVE, ["op"], policy).permitted
    with pytest.raises(ValueError, match="no action is called wave; valid: approve"):
        with_overrides({"wave": ["admin"]})
