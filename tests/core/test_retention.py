"""What is kept and what may go, as a function of facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.errors import Conflict
from gauntlet.core.ledger import Change, Ground, effects, no_champion, no_routing
from gauntlet.core.records.ledger import CandidateState, Intent, IntentKind, IntentStage, RoutingChange
from gauntlet.core.records.retention import ItemKind
from gauntlet.core.records.rollout import Routing, ServedVersion
from gauntlet.core.retention import Holding, Item, Policy, divide, newest_versions, pointed_at, served_since
from gauntlet.core.standing import Standing

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Policy(versions=2, referenced=30 * DAY)


def holding(number: int, age_days: float, *, snapshot: str = "", version: int | None = None) -> Holding:
    items = (
        Item(ItemKind.RELEASE, f"r{number}", f"file:///r{number}"),
        Item(ItemKind.SNAPSHOT, snapshot or f"s{number}", ""),
    )
    return Holding(f"m/run{number}", NOW - age_days * DAY, items, f"r{number}", version or number)


def served(digest: str) -> ServedVersion:
    return ServedVersion(version=1, version_id=digest, release_uri="", release_digest=digest)


def routing(stable: str | None, canary: str | None = None, previous: str | None = None, epoch: int = 1) -> Routing:
    names = {"stable": stable, "canary": canary, "previous": previous}
    versions = {role: served(name) if name else None for role, name in names.items()}
    return no_routing("m").model_copy(update={**versions, "epoch": epoch})


def names(items):
    return {item.digest for item in items}


def test_the_newest_versions_stay_and_the_rest_goes_by_age():
    holdings = [holding(number, 100 - number) for number in range(1, 6)]
    kept, doomed = divide(holdings, {}, POLICY, NOW)
    assert names(kept) == {"r5", "s5", "r4", "s4"}
    assert names(doomed) == {"r1", "s1", "r2", "s2", "r3", "s3"}
    assert next(item.reason for item in kept if item.digest == "r5") == "one of the last 2 versions (run m/run5)"
    assert "last run m/run1" in next(item.reason for item in doomed if item.digest == "r1")


def test_a_young_run_keeps_all_it_refers_to():
    kept, doomed = divide([holding(1, 30), holding(2, 30.001), holding(3, 99), holding(4, 99)], {}, POLICY, NOW)
    assert names(doomed) == {"r2", "s2"}
    assert names(kept) == {"r1", "s1", "r3", "s3", "r4", "s4"}


def test_an_item_two_runs_share_stays_with_either():
    kept, doomed = divide(
        [holding(1, 99, snapshot="x"), holding(2, 99), holding(3, 99, snapshot="x")], {}, Policy(1, DAY), NOW
    )
    assert "x" in names(kept)
    assert names(doomed) == {"r1", "r2", "s2"}


def test_a_version_registered_by_two_runs_counts_once():
    same = [holding(1, 99, version=9), Holding("m/again", NOW - 98 * DAY, (), "r1", 10), holding(2, 99), holding(3, 99)]
    assert set(newest_versions(same, 2)) == {"r1", "r3"}


@given(
    ages=st.lists(st.floats(0, 400), min_size=1, max_size=12),
    wanted=st.sets(st.integers(1, 12)),
    versions=st.integers(1, 6),
    days=st.integers(0, 90),
)
def test_nothing_wanted_recent_or_new_ever_goes(ages, wanted, versions, days):
    holdings = [holding(number, age) for number, age in enumerate(ages, 1)]
    reasons = {f"r{number}": "champion" for number in wanted}
    kept, doomed = divide(holdings, reasons, Policy(versions, days * DAY), NOW)
    assert names(kept) | names(doomed) == {item.digest for one in holdings for item in one.items}
    assert not names(kept) & names(doomed)
    newest = {f"r{one.version}" for one in holdings[-versions:]}
    assert not names(doomed) & (set(reasons) | newest)
    assert all(NOW - one.at > days * DAY for one in holdings if one.release in names(doomed))


def test_every_role_of_a_routing_row_is_pointed_at():
    assert pointed_at(routing("a", "b", "c")) == {"a": "champion", "b": "challenger", "c": "previous"}


def test_nobody_has_served_before_there_was_a_routing():
    assert served_since([], NOW) == {}


def test_who_served_since_counts_until_it_was_replaced():
    rows = [routing("a"), routing("b", "c"), routing("b")]
    changes = [
        RoutingChange(routing=row, at=NOW + place * DAY, actor="x", action="x", reason="x")
        for place, row in enumerate(rows)
    ]
    assert set(served_since(changes, NOW + 1.5 * DAY)) == {"b", "c"}
    assert set(served_since(changes, NOW + 2.5 * DAY)) == {"b"}
    assert set(served_since(changes, NOW)) == {"a", "b", "c"}


# ---- the commit point ------------------------------------------------------------------------------


def change(**more):
    return Change(model="m", actor="x", action="x", reason="x", **more)


def ground(row: Routing | None = None, **more) -> Ground:
    return Ground(row or routing("a", "b", "c"), no_champion("m"), more.pop("standings", {}), more.pop("intent", None))


@pytest.mark.parametrize("digest", ["a", "b", "c"])
def test_what_the_routing_points_at_is_not_deleted(digest):
    with pytest.raises(Conflict, match=f"the routing points at v1 \\({digest}\\): it is not deleted"):
        effects(change(deletes=frozenset({digest})), ground())


@pytest.mark.parametrize("state", [CandidateState.SHADOW, CandidateState.CANARY, CandidateState.PROMOTING])
def test_what_is_in_a_rollout_is_not_deleted(state):
    standing = Standing(state, served("d"), None, "x", 1)
    with pytest.raises(Conflict, match=f"its state, {state}, points at"):
        effects(change(deletes=frozenset({"d"})), ground(standings={"d": standing}))


@pytest.mark.parametrize("role", ["target", "replaced"])
def test_what_a_promotion_under_way_needs_is_not_deleted(role):
    intent = Intent(
        model="m",
        kind=IntentKind.PROMOTION,
        key="k",
        stage=IntentStage.OPENED,
        target=served("d" if role == "target" else "e"),
        replaced=served("d" if role == "replaced" else "e"),
        champion_epoch=1,
        actor="x",
        reason="x",
        opened_at=NOW,
    )
    with pytest.raises(Conflict, match="a promotion under way points at"):
        effects(change(deletes=frozenset({"d"})), ground(intent=intent))


def test_anything_else_may_go():
    assert effects(change(deletes=frozenset({"d"})), ground()).notes == ()


@pytest.mark.parametrize("role", ["stable", "canary"])
def test_what_was_deleted_is_never_served_again(role):
    wanted = routing("d") if role == "stable" else routing("a", "d")
    rows = Ground(routing("a"), no_champion("m"), {}, None, frozenset({"d"}))
    with pytest.raises(Conflict, match="has been deleted by retention; it cannot be served"):
        effects(change(routing=wanted, routing_epoch=1), rows)


def test_a_way_back_that_was_deleted_is_left_out_and_refuses_nothing():
    rows = Ground(
        routing("a"), no_champion("m").model_copy(update={"version": served("a")}), {}, None, frozenset({"d"})
    )
    after = effects(change(routing=routing("a", previous="d"), routing_epoch=1), rows).routing
    assert after is not None
    assert after.previous is None
