"""The ledger's rules: transitions, what a change does, the recorded way back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.errors import Conflict
from gauntlet.core.ledger import Change, Ground, effects, named, no_champion, no_routing
from gauntlet.core.records.ledger import CandidateState, Intent, IntentKind, IntentStage, Transition
from gauntlet.core.records.rollout import PPM, ServedVersion
from gauntlet.core.standing import ALLOWED, earlier_champions, fold, standing_of

S = CandidateState
START = datetime(2026, 3, 1, tzinfo=UTC)


def version(number):
    return ServedVersion(
        version=number, version_id=f"id-{number}", release_uri=f"/r/{number}", release_digest=f"{number:064x}"
    )


def event(number, before, after, sequence=0):
    return Transition(
        model="m",
        candidate=version(number).release_digest,
        version=version(number),
        before=before,
        after=after,
        reason="because",
        actor="ann",
        sequence=sequence,
    )


def intent(stage=IntentStage.OPENED, kind=IntentKind.PROMOTION, key="run"):
    return Intent(
        model="m",
        kind=kind,
        key=key,
        stage=stage,
        target=version(2),
        replaced=version(1),
        champion_epoch=1,
        actor="a",
        reason="r",
        opened_at=START,
    )


def change(**fields):
    return Change(model="m", actor="ann", action="swap", reason="because", **fields)


def ground(events=(), routing=None, champion=None, intent=None):
    return Ground(routing or no_routing("m"), champion or no_champion("m"), fold(events), intent)


def walks():
    """Random ways a candidate may go."""

    @st.composite
    def walk(draw):
        state, events = None, []
        for _ in range(draw(st.integers(0, 12))):
            after = draw(st.sampled_from(sorted(ALLOWED[state])))
            events.append(event(1, state, after, len(events) + 1))
            state = after
        return events

    return walk()


def test_every_state_can_be_reached_and_left():
    reached = {after for ways in ALLOWED.values() for after in ways}
    assert reached == set(S)
    assert set(ALLOWED) == {None, *S}
    assert all(ALLOWED.values())


@pytest.mark.parametrize("before", [S.REGISTERED, S.VALIDATED, S.APPROVED, S.SHADOW, S.CANARY, S.QUARANTINED])
def test_nobody_becomes_champion_but_through_promotion_or_return(before):
    assert S.CHAMPION not in ALLOWED[before]


def test_quarantine_is_left_only_by_a_way_that_needs_fresh_receipts():
    assert ALLOWED[S.QUARANTINED] == {S.ROLLED_BACK}
    assert S.CHAMPION not in ALLOWED[S.ROLLED_BACK]


@given(walks())
def test_the_fold_ends_where_the_last_event_does(events):
    standings = fold(events)
    assert standings == ({version(1).release_digest: standing_of(events[-1])} if events else {})


@given(walks(), st.sampled_from(list(S)), st.sampled_from([None, *S]))
def test_no_event_is_taken_that_is_not_allowed(events, after, before):
    now = events[-1].after if events else None
    wanted = event(1, before, after)
    if before is now and after in ALLOWED[now]:
        assert fold([*events, wanted])[version(1).release_digest].state is after
    else:
        with pytest.raises(Conflict):
            fold([*events, wanted])


def adopted():
    row = no_routing("m").model_copy(update={"stable": version(1)})
    return effects(change(routing=row, routing_epoch=0), ground())


def test_a_running_model_is_adopted():
    done = adopted()
    assert (done.routing.epoch, done.champion.epoch, done.champion.version) == (1, 1, version(1))
    assert [item.after for item in done.transitions] == [S.CHAMPION]
    assert [note.action for note in done.notes] == ["swap", "candidate.champion"]


def reigning():
    done = adopted()
    return {"routing": done.routing, "champion": done.champion, "events": done.transitions}


@given(st.lists(st.integers(0, PPM), min_size=1, max_size=8))
def test_every_weight_of_a_canary_is_an_event(weights):
    state = reigning()
    routing, events = state["routing"], list(state["events"])
    for weight in weights:
        row = routing.model_copy(update={"canary": version(2), "weight_ppm": weight})
        done = effects(
            change(routing=row, routing_epoch=routing.epoch),
            ground(events, routing=routing, champion=state["champion"]),
        )
        changed = weight != routing.weight_ppm or routing.canary is None
        assert len(done.transitions) == int(changed)
        routing, events = done.routing, [*events, *done.transitions]
    assert fold(events)[version(2).release_digest].state in (S.SHADOW, S.CANARY)
    assert fold(events)[version(1).release_digest].state is S.CHAMPION


def test_a_champion_is_never_just_removed():
    state = reigning()
    row = state["routing"].model_copy(update={"stable": None})
    with pytest.raises(Conflict, match="never just removed"):
        effects(
            change(routing=row, routing_epoch=1, champion_epoch=1),
            ground(state["events"], routing=state["routing"], champion=state["champion"]),
        )


@pytest.mark.parametrize(("epoch", "champion_epoch"), [(0, 1), (2, 1), (1, 0), (1, 2), (1, None)])
def test_a_promotion_on_old_epochs_loses(epoch, champion_epoch):
    state = reigning()
    events = [*state["events"], event(2, None, S.REGISTERED), event(2, S.REGISTERED, S.VALIDATED)]
    events.append(event(2, S.VALIDATED, S.PROMOTING))
    row = state["routing"].model_copy(update={"stable": version(2)})
    now = ground(events, routing=state["routing"], champion=state["champion"], intent=intent())
    with pytest.raises(Conflict):
        effects(change(routing=row, routing_epoch=epoch, champion_epoch=champion_epoch), now)
    done = effects(change(routing=row, routing_epoch=1, champion_epoch=1), now)
    assert [(item.version.version, item.after) for item in done.transitions] == [(2, S.CHAMPION), (1, S.RETIRED)]


@pytest.mark.parametrize("stage", [IntentStage.ROUTED, IntentStage.DONE, IntentStage.ABANDONED])
def test_a_promotion_nobody_opened_is_not_under_way(stage):
    with pytest.raises(Conflict, match="is not under way any more"):
        effects(change(intent=intent(stage)), ground())


def test_a_rollback_moves_traffic_in_its_first_transaction():
    done = effects(change(intent=intent(IntentStage.ROUTED, IntentKind.ROLLBACK)), ground(intent=intent()))
    assert [(item.kind, item.stage) for item in done.intents] == [
        (IntentKind.PROMOTION, IntentStage.ABANDONED),
        (IntentKind.ROLLBACK, IntentStage.ROUTED),
    ]


def test_the_way_back_is_what_reigned_not_what_is_numbered():
    events = [event(number, None, S.CHAMPION) for number in (1, 4, 2, 4)]
    events.insert(2, event(3, None, S.REGISTERED))
    assert [item.version for item in earlier_champions(events, version(4))] == [2, 1]
    assert earlier_champions([], version(1)) == []


def test_words():
    assert (named(version(7)), named(None)) == ("v7 (id-7)", "nobody")
