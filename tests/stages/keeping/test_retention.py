"""What retention deletes, what it refuses to, and what is left of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.faults.world import MODEL, START, World

from gauntlet.core.errors import Conflict, InfrastructureError, MissingRecord, RollbackRefused, SpecError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.ledger import CandidateState
from gauntlet.core.records.model import RegisteredVersion
from gauntlet.core.records.retention import Tombstone, retention_key
from gauntlet.core.specs.retention import RetentionSection
from gauntlet.stages.pins import pin_version
from gauntlet.stages.plan_retention import plan_retention
from gauntlet.stages.reconcile import reconcile
from gauntlet.stages.register import register_challenger
from gauntlet.stages.retention import apply_retention
from gauntlet.stages.rollback import rollback
from gauntlet.stages.trace import trace

LATER = timedelta(days=60)


def aged(world: World, *contents: str) -> World:
    """Champions one after the other, and then two months without anybody looking."""
    for content in contents:
        world.champion(content)
    world.clock.moment = START + LATER
    return world


def doomed(world):
    return {(item.kind.value, item.digest) for item in plan_retention(world.services, MODEL).doomed}


def there(world, content):
    return (world.folder / "releases" / content / "manifest.json").exists()


def digest(world, content):
    return world.release(content).digest


def test_the_newest_champion_and_the_one_before_stay(world):
    aged(world, "a", "b", "c", "d")
    assert {kind for kind, _ in doomed(world)} == {"release", "dossier", "evaluation", "registry_run"}
    report = apply_retention(world.services, MODEL)
    assert report.outcome is Outcome.PASSED
    assert [there(world, content) for content in "abcd"] == [False, False, True, True]
    assert [version.version for version in world.registry.versions(MODEL)] == [3, 4]
    assert not (world.folder / "evaluations" / "night-a.parquet").exists()
    assert (world.folder / "evaluations" / "night-d.parquet").exists()
    assert set(world.registry.document.read()["runs"]) == {f"{MODEL}/night-c", f"{MODEL}/night-d"}
    assert reconcile(world.services, MODEL, repair=False).agreed


def test_a_tombstone_says_what_it_was_and_why_it_went(world):
    aged(world, "a", "b", "c")
    first = world.services.records.newest(MODEL, RegisteredVersion, limit=9)[-1].release
    apply_retention(world.services, MODEL)
    stone = world.services.records.get(retention_key(MODEL), Tombstone, f"release:{first.digest}")
    assert (stone.digest, stone.uri) == (first.digest, first.uri)
    assert "no version that is kept and no run of the last 30d refers to it" in stone.reason
    assert stone.decided_at < stone.deleted_at
    assert f"record.Tombstone {MODEL}/retention/release:{first.digest}" in {
        f"{entry.action} {entry.subject}" for entry in world.services.audit.entries(MODEL)
    }


def test_again_changes_nothing(world):
    aged(world, "a", "b", "c")
    apply_retention(world.services, MODEL)
    entries = len(world.services.audit.entries())
    assert plan_retention(world.services, MODEL).doomed == ()
    assert apply_retention(world.services, MODEL).deleted == ()
    assert len(world.services.audit.entries()) == entries


def test_nothing_young_goes(world):
    for content in "abc":
        world.champion(content)
    assert doomed(world) == set()


def test_what_served_lately_stays_however_old_its_run(world):
    aged(world, "a", "b")
    world.champion("c")  # so that a and b could answer until now
    world.clock.moment += timedelta(days=29)
    assert doomed(world) >= {("registry_run", f"{MODEL}/canary-a")} or doomed(world) == set()
    assert ("release", digest(world, "b")) not in doomed(world)


def test_the_challenger_and_a_canary_stay(world):
    aged(world, "a", "b", "c")
    source = world.trained("night-d", "d")
    register_challenger(world.services, source)
    world.specs.spec = replace(world.specs.spec, retention=RetentionSection(versions=1, referenced="1s"))
    world.ramped("canary-d", source)
    world.clock.moment += timedelta(hours=1)
    assert apply_retention(world.services, MODEL).refused == ()
    assert there(world, "d")
    assert there(world, "c")


def test_a_pin_keeps_until_it_is_taken_off(world):
    aged(world, "a", "b", "c")
    pin_version(world.services, MODEL, "v1", by="ann", reason="the auditors look at it")
    apply_retention(world.services, MODEL)
    assert there(world, "a")
    kept = {item.digest: item.reason for item in plan_retention(world.services, MODEL).kept}
    assert "pinned by ann: the auditors look at it" in kept[digest(world, "a")]
    pin_version(world.services, MODEL, "id-a", by="ann", reason="they are done", pinned=False)
    apply_retention(world.services, MODEL)
    assert not there(world, "a")


@pytest.mark.parametrize("version", ["9", "v9", "id-z", "abc"])
def test_only_a_known_version_is_pinned(world, version):
    world.champion("a")
    with pytest.raises(MissingRecord, match="has no version"):
        pin_version(world.services, MODEL, version, by="ann", reason="x")


def test_a_pin_needs_a_reason(world):
    world.champion("a")
    with pytest.raises(SpecError, match="a pin needs a reason"):
        pin_version(world.services, MODEL, "1", by="ann", reason=" ")


def test_an_alias_somebody_moved_by_hand_keeps_its_version(world):
    aged(world, "a", "b", "c")
    world.registry.set_alias(MODEL, "archive", 1)
    apply_retention(world.services, MODEL)
    assert there(world, "a")
    assert [version.version for version in world.registry.versions(MODEL)] == [1, 2, 3]


def test_an_alias_set_while_retention_is_at_work_keeps_the_bytes(world):
    aged(world, "a", "b", "c")
    listed = world.registry.aliases

    def moved_after_the_plan(model):
        found = listed(model)
        world.registry.set_alias(model, "archive", 1)
        return found

    world.registry.aliases = moved_after_the_plan
    report = apply_retention(world.services, MODEL)
    assert report.outcome is Outcome.FAILED
    assert "an alias points at version 1" in report.refused[0]
    assert there(world, "a")


def test_without_the_registry_nothing_is_deleted(world):
    aged(world, "a", "b", "c")
    world.registry.down = True
    with pytest.raises(InfrastructureError):
        apply_retention(world.services, MODEL)
    assert there(world, "a")
    assert world.services.records.newest(MODEL, Tombstone) == []


def test_a_rollback_between_plan_and_deletion_wins(world):
    aged(world, "a", "b", "c", "d")
    world.specs.spec = replace(world.specs.spec, retention=RetentionSection(versions=1, referenced="1s"))
    rollback(world.services, MODEL, reason="one", actor="ann")
    plan = plan_retention(world.services, MODEL)
    rollback(world.services, MODEL, reason="two", actor="ann")
    assert world.stable() == "id-b"
    from gauntlet.stages.retention import _condemn

    refused = [item for item in plan.doomed if item.digest in (digest(world, "a"), digest(world, "b"))]
    for item in refused:
        with pytest.raises(Conflict, match="it is not deleted"):
            _condemn(world.services, MODEL, item)
    assert refused


def test_a_rollback_past_a_deleted_champion_is_refused_not_broken(world):
    aged(world, "a", "b", "c")
    apply_retention(world.services, MODEL)
    rollback(world.services, MODEL, reason="one", actor="ann")
    assert world.stable() == "id-b"
    assert world.services.routing.read(MODEL).previous is None
    with pytest.raises(RollbackRefused, match="deleted by retention"):
        rollback(world.services, MODEL, reason="two", actor="ann")
    assert reconcile(world.services, MODEL, repair=True).agreed


def test_a_deleted_candidate_that_waited_is_retired_with_it(world):
    world.champion("a")
    register_challenger(world.services, world.trained("night-b", "b"))
    register_challenger(world.services, world.trained("night-c", "c"))
    world.clock.moment = START + LATER
    apply_retention(world.services, MODEL)
    standing = world.services.ledger.standing(MODEL, digest(world, "b"))
    assert standing.state is CandidateState.RETIRED
    assert reconcile(world.services, MODEL, repair=True).agreed


def test_the_same_content_made_again_counts_again(world):
    aged(world, "a", "b", "c")
    apply_retention(world.services, MODEL)
    world.champion("a-again")
    source = world.trained("night-a2", "a")
    decision = register_challenger(world.services, source)
    assert decision.version == 5
    world.ramped("canary-a2", source)
    assert world.services.routing.read(MODEL).canary.version_id == "id-a"


def test_journal_files_go_with_the_rest(world):
    world.champion("a")
    world.journal.append(MODEL, [{"request_id": "old", "at": START}, {"request_id": "new", "at": START + LATER}])
    world.clock.moment = START + LATER
    apply_retention(world.services, MODEL)
    kept = world.journal.read(MODEL, START - LATER, START + LATER).column("request_id").to_pylist()
    assert kept == ["new"]
    assert any(stone.kind.value == "journal" for stone in world.services.records.newest(MODEL, Tombstone, limit=99))


def test_a_copy_in_a_cache_is_no_way_back(world):
    """Where blobs are remote, a deleted release may still lie in a host's cache: the rollback passes over it."""
    aged(world, "a", "b", "c")
    kept = {content: world.folder / "releases" / content for content in "ab"}
    import shutil

    shutil.copytree(kept["a"], world.folder / "cached")
    apply_retention(world.services, MODEL)
    shutil.copytree(world.folder / "cached", kept["a"])
    rollback(world.services, MODEL, reason="one", actor="ann")
    with pytest.raises(RollbackRefused, match="deleted by retention"):
        rollback(world.services, MODEL, reason="two", actor="ann")


def test_a_trace_tells_that_a_version_is_gone(world):
    aged(world, "a", "b", "c")
    assert "deleted" not in {step.kind for step in trace(world.services, "v1")}
    apply_retention(world.services, MODEL)
    [step] = [step for step in trace(world.services, "v1") if step.kind == "deleted"]
    assert "no version that is kept" in step.text
    assert "deleted" not in {step.kind for step in trace(world.services, "v3")}
