"""What every control store does, whatever is below it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gauntlet.core.audit import verify
from gauntlet.core.errors import Conflict, MissingRecord
from gauntlet.core.ledger import Change, no_routing
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import LeakageFinding, LeakageReport
from gauntlet.core.records.evaluation import LatencyProfile
from gauntlet.core.records.ledger import CandidateState, Intent, IntentKind, IntentStage, Transition

S = CandidateState


def report(reason: str) -> LeakageReport:
    return LeakageReport(
        outcome=Outcome.PASSED,
        reason=reason,
        dataset="d",
        findings=(LeakageFinding(check="overlap", outcome=Outcome.PASSED, sentence="none"),),
    )


def states(store, model="m"):
    return [(event.version.version, event.before, event.after) for event in store.ledger.events(model)]


def seeded(store, served, number=1):
    row = no_routing("m").model_copy(update={"stable": served(number)})
    return store.routing.swap(row, expected_epoch=0, actor="ann", action="adopt", reason="took over a running model")


# ---- records ---------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_put(store):
    store.records.put("m/run-1", report("fine"))
    assert store.records.get("m/run-1", LeakageReport) == report("fine")
    assert store.records.find("m/run-2", LeakageReport) is None


def test_a_missing_record_names_run_and_kind(store):
    with pytest.raises(MissingRecord, match=r"m/run-1: no LeakageReport 'x'"):
        store.records.get("m/run-1", LeakageReport, "x")


def test_putting_the_same_again_changes_nothing_and_audits_nothing(store):
    for _ in range(3):
        store.records.put("m/run-1", report("fine"))
    assert [entry.action for entry in store.audit.entries()] == ["record.LeakageReport"]


def test_new_content_supersedes(store):
    store.records.put("m/run-1", report("one"))
    store.records.put("m/run-1", report("two"))
    store.records.put("m/run-1", report("one"))
    assert store.records.get("m/run-1", LeakageReport).reason == "one"
    assert len(store.audit.entries()) == 3


def test_names_keep_records_apart(store):
    for name in ("b", "a"):
        store.records.put("m/run-1", report(name), name)
    assert {name: item.reason for name, item in store.records.named("m/run-1", LeakageReport).items()} == {
        "a": "a",
        "b": "b",
    }


def test_newest_counts_only_current_records_of_the_model(store):
    store.records.put("m/run-1", report("old"))
    store.records.put("m/run-2", report("second"))
    store.records.put("mm/run-1", report("other model"))
    store.records.put("m/run-1", report("newest"))
    assert [item.reason for item in store.records.newest("m", LeakageReport, limit=5)] == ["newest", "second"]
    assert [item.reason for item in store.records.newest("m", LeakageReport)] == ["newest"]
    assert store.records.newest("m", LeakageReport, limit=5, name="x") == []


def test_not_a_number_survives(store):
    profile = LatencyProfile(n=1, p50_us=float("nan"), p95_us=float("inf"), p99_us=1.0, max_us=1.0)
    store.records.put("m/run-1", profile)
    store.records.put("m/run-1", profile)
    back = store.records.get("m/run-1", LatencyProfile)
    assert back.p50_us != back.p50_us
    assert back.p95_us == float("inf")
    assert len(store.audit.entries()) == 1


def test_a_run_key_with_slashes_and_quotes_belongs_to_its_model(store):
    key = "m/manual__2026-03-01T02:00:00+00:00/'; DROP TABLE record; --"
    store.records.put(key, report("fine"), "größe")
    assert store.records.newest("m", LeakageReport)[0] == store.records.get(key, LeakageReport, "größe")


# ---- audit -----------------------------------------------------------------------------------------


def test_the_chain_holds_and_filters(store, clock):
    for number in range(5):
        clock.move(seconds=1)
        store.audit.append("ann", "freeze", "m" if number % 2 else "n", f"s{number}", {"n": number, "x": float("nan")})
    entries = store.audit.entries()
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4, 5]
    assert verify(entries) == ()
    assert [entry.subject for entry in store.audit.entries("m")] == ["s1", "s3"]
    assert [entry.subject for entry in store.audit.entries(subject="s4")] == ["s4"]
    assert entries[0].detail == {"n": 0, "x": "nan"}


def test_audit_time_never_runs_backwards(store, clock):
    store.audit.append("ann", "a", "m", "s", {})
    clock.move(hours=-2)
    store.audit.append("ann", "b", "m", "s", {})
    first, second = store.audit.entries()
    assert first.at == second.at == datetime(2026, 3, 1, 2, tzinfo=UTC)


# ---- routing ---------------------------------------------------------------------------------------


def test_a_model_without_a_row_serves_nobody_at_epoch_0(store):
    assert store.routing.read("m") == no_routing("m")
    assert store.ledger.champion("m").epoch == 0


def test_a_swap_raises_the_epoch_and_is_audited(store, served):
    row = seeded(store, served)
    assert row.epoch == 1
    assert store.routing.read("m") == row
    assert [entry.action for entry in store.audit.entries("m")] == ["adopt", "candidate.champion"]


def test_a_stale_swap_loses_and_leaves_nothing(store, served):
    row = seeded(store, served)
    with pytest.raises(Conflict, match="at epoch 1, not 0"):
        store.routing.swap(row, expected_epoch=0, actor="bob", action="x", reason="late")
    assert store.routing.read("m") == row
    assert len(store.audit.entries()) == 2


def test_a_swap_cannot_replace_a_champion(store, served):
    row = seeded(store, served)
    for stable in (served(2), None):
        with pytest.raises(Conflict):
            store.routing.swap(
                row.model_copy(update={"stable": stable}), expected_epoch=1, actor="bob", action="x", reason="sneaky"
            )
    assert store.ledger.champion("m").version == served(1)


def test_a_canary_s_way_is_written_into_the_ledger(store, served):
    row = seeded(store, served)
    for weight, canary in ((0, 2), (10_000, 2), (50_000, 2), (50_000, 2), (0, None)):
        update = {"canary": served(canary) if canary else None, "weight_ppm": weight}
        row = store.routing.swap(
            row.model_copy(update=update), expected_epoch=row.epoch, actor="tick", action="ramp", reason="step"
        )
    assert states(store) == [
        (1, None, S.CHAMPION),
        (2, None, S.SHADOW),
        (2, S.SHADOW, S.CANARY),
        (2, S.CANARY, S.CANARY),
        (2, S.CANARY, S.ROLLED_BACK),
    ]
    assert store.ledger.standing("m", served(2).release_digest).state is S.ROLLED_BACK
    assert [change.routing.epoch for change in store.ledger.routings("m")] == [1, 2, 3, 4, 5, 6]


# ---- ledger ----------------------------------------------------------------------------------------


def moved(served, number, before, after):
    version = served(number)
    return Transition(
        model="m",
        candidate=version.release_digest,
        version=version,
        before=before,
        after=after,
        reason="because",
        actor="ann",
    )


def change(**fields):
    return Change(model="m", actor="ann", action="test", reason="because", **fields)


def intent(served, key="run-1", kind=IntentKind.PROMOTION, stage=IntentStage.OPENED):
    return Intent(
        model="m",
        kind=kind,
        key=key,
        stage=stage,
        target=served(2),
        replaced=served(1),
        champion_epoch=1,
        actor="ann",
        reason="because",
        opened_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


def test_transitions_must_start_where_the_candidate_stands(store, served):
    store.ledger.commit(change(transitions=(moved(served, 2, None, S.REGISTERED),)))
    with pytest.raises(Conflict, match="is registered, not unknown to the ledger"):
        store.ledger.commit(change(transitions=(moved(served, 2, None, S.REGISTERED),)))
    with pytest.raises(Conflict, match="registered → champion is no way"):
        store.ledger.commit(change(transitions=(moved(served, 2, S.REGISTERED, S.CHAMPION),)))
    assert states(store) == [(2, None, S.REGISTERED)]
    assert len(store.audit.entries()) == 1


def test_a_promotion_is_one_change(store, served):
    row = seeded(store, served)
    store.ledger.commit(
        change(transitions=(moved(served, 2, None, S.REGISTERED), moved(served, 2, S.REGISTERED, S.VALIDATED)))
    )
    store.ledger.commit(change(transitions=(moved(served, 2, S.VALIDATED, S.PROMOTING),), intent=intent(served)))
    after = row.model_copy(update={"stable": served(2), "previous": served(1)})
    new = store.ledger.commit(
        change(
            routing=after,
            routing_epoch=1,
            champion_epoch=1,
            intent=intent(served, stage=IntentStage.ROUTED),
            records=(("m/run-1", report("with it"), ""),),
        )
    )
    assert (new.epoch, new.stable, new.previous) == (2, served(2), served(1))
    champion = store.ledger.champion("m")
    assert (champion.epoch, champion.version) == (2, served(2))
    assert states(store)[-2:] == [(2, S.PROMOTING, S.CHAMPION), (1, S.CHAMPION, S.RETIRED)]
    assert store.ledger.intent("m").stage is IntentStage.ROUTED
    assert store.records.get("m/run-1", LeakageReport).reason == "with it"
    assert verify(store.audit.entries()) == ()


def test_a_stale_champion_epoch_writes_nothing_at_all(store, served):
    row = seeded(store, served)
    before = store.audit.entries()
    with pytest.raises(Conflict, match=r"champion is at epoch 1 \(v1 \(id-1\)\), not 7"):
        store.ledger.commit(
            change(
                routing=row.model_copy(update={"stable": served(2)}),
                routing_epoch=1,
                champion_epoch=7,
                records=(("m/run-1", report("no"), ""),),
            )
        )
    assert store.records.find("m/run-1", LeakageReport) is None
    assert store.audit.entries() == before


def test_only_one_thing_is_under_way(store, served):
    store.ledger.commit(change(intent=intent(served)))
    store.ledger.commit(change(intent=intent(served)))
    with pytest.raises(Conflict, match=r"promotion to id-2 \(run-1\) is under way"):
        store.ledger.commit(change(intent=intent(served, key="run-2")))
    store.ledger.commit(change(intent=intent(served, stage=IntentStage.DONE)))
    assert store.ledger.intent("m") is None
    store.ledger.commit(change(intent=intent(served, key="run-2")))
    assert store.ledger.intent("m").key == "run-2"
    assert [entry.action for entry in store.audit.entries()] == [
        "promotion.opened",
        "promotion.done",
        "promotion.opened",
    ]


def test_a_rollback_takes_the_place_of_a_promotion_but_not_the_other_way(store, served):
    store.ledger.commit(change(intent=intent(served)))
    store.ledger.commit(change(intent=intent(served, key="r", kind=IntentKind.ROLLBACK)))
    assert store.ledger.intent("m").kind is IntentKind.ROLLBACK
    with pytest.raises(Conflict):
        store.ledger.commit(change(intent=intent(served, key="run-3")))
    assert [entry.action for entry in store.audit.entries()] == [
        "promotion.opened",
        "promotion.abandoned",
        "rollback.opened",
    ]


def test_taking_the_canary_out_gives_up_its_promotion(store, served):
    row = seeded(store, served)
    row = store.routing.swap(
        row.model_copy(update={"canary": served(2), "weight_ppm": 5}),
        expected_epoch=1,
        actor="t",
        action="ramp",
        reason="r",
    )
    store.ledger.commit(change(transitions=(moved(served, 2, S.CANARY, S.PROMOTING),), intent=intent(served)))
    store.routing.swap(
        row.model_copy(update={"canary": None, "weight_ppm": 0}),
        expected_epoch=2,
        actor="t",
        action="close",
        reason="r",
    )
    assert store.ledger.intent("m") is None
    assert store.ledger.standing("m", served(2).release_digest).state is S.ROLLED_BACK


def test_models_do_not_see_each_other(store, served):
    seeded(store, served)
    assert store.routing.read("n").stable is None
    assert store.ledger.events("n") == []
    assert store.ledger.routings("n") == []


def test_records_of_several_runs_come_in_one_answer(store):
    store.records.put("m/run-1", report("old"), "a")
    store.records.put("m/run-1", report("one"), "a")
    store.records.put("m/run-1", report("two"), "b")
    store.records.put("m/run-3", report("three"))
    found = store.records.of_runs(["m/run-1", "m/run-2", "m/run-3"], LeakageReport)
    reasons = {key: {name: item.reason for name, item in named.items()} for key, named in found.items()}
    assert reasons == {"m/run-1": {"a": "one", "b": "two"}, "m/run-3": {"": "three"}}
    assert [*store.records.of_runs(["m/run-1", "m/run-3"], LeakageReport, "b")] == ["m/run-1"]
    assert [*store.records.of_runs(["m/run-1"], LeakageReport, "b")["m/run-1"]] == ["b"]
    assert store.records.of_runs([f"m/none-{number}" for number in range(1200)], LeakageReport) == {}


def test_the_past_has_what_was_superseded(store):
    for reason in ("one", "two", "three"):
        store.records.put("m/run-1", report(reason), "a")
    store.records.put("m/run-1", report("other"), "b")
    assert [item.reason for item in store.records.past("m/run-1", LeakageReport, "a")] == ["one", "two", "three"]
    assert store.records.past("m/run-2", LeakageReport) == []


def test_the_newest_audit_entries_can_be_paged_through(store):
    for number in range(5):
        store.records.put("m/run-1", report(str(number)))
    store.records.put("other/run-1", report("x"))
    first = store.audit.newest("m", 2)
    second = store.audit.newest("m", 2, before=first[-1].sequence)
    rest = store.audit.newest("m", 9, before=second[-1].sequence)
    assert [*first, *second, *rest] == store.audit.entries("m")[::-1]
    assert (len(first), len(second), len(rest)) == (2, 2, 1)


def test_what_an_actor_has_only_recorded_can_be_left_out(store):
    store.records.put("m/run-1", report("one"))
    store.records.put("m/run-1", report("two"), actor="ann")
    store.audit.append("pipeline", "rollback", "m", "m/run-1", {})
    found = store.audit.newest("m", 9, unrecorded_by=("pipeline",))
    assert [(entry.actor, entry.action) for entry in found] == [
        ("pipeline", "rollback"),
        ("ann", "record.LeakageReport"),
    ]
    assert store.audit.newest("m", 1, before=found[0].sequence, unrecorded_by=("pipeline",)) == found[1:]
