"""Registration, promotion, rollback and reconciliation, through the real stages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.faults.world import MODEL, Gates, Spec, World

from gauntlet.core.audit import verify
from gauntlet.core.errors import (
    Conflict,
    DeploymentHeld,
    InfrastructureError,
    IntegrityError,
    PromotionRefused,
    RollbackRefused,
    SpecError,
)
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.account import Account
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.ledger import CandidateState, IntentKind
from gauntlet.core.records.model import RegisteredVersion, TrainedModel
from gauntlet.core.records.rollout import Quarantine, RolloutPhase, RolloutState
from gauntlet.stages.answer_approval import answer_approval
from gauntlet.stages.promote import promote
from gauntlet.stages.reconcile import reconcile
from gauntlet.stages.register import register_challenger
from gauntlet.stages.releases import clear_quarantine
from gauntlet.stages.rollback import begin_rollback, rollback
from gauntlet.stages.verify_audit import verify_audit

S = CandidateState


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def actions(world, prefix=""):
    return [entry.action for entry in world.services.audit.entries(MODEL) if entry.action.startswith(prefix)]


def roll_back(world, **more):
    return rollback(world.services, MODEL, reason="complaints", actor="ann", **more)


# ---- registration ----------------------------------------------------------------------------------


def test_a_candidate_with_all_receipts_is_registered(world):
    run = world.trained("night-1", "a")
    decision = register_challenger(world.services, run)
    assert (decision.outcome, decision.version) == (Outcome.PASSED, 1)
    assert world.registry.aliases(MODEL) == {"challenger": 1}
    assert world.registry.tags(1)["gauntlet.run"] == "night-1"
    assert world.services.records.get(run.key, RegisteredVersion).version == 1
    assert world.services.ledger.standing(MODEL, decision.candidate).state is S.APPROVED


def test_registering_again_changes_nothing(world):
    run = world.trained("night-1", "a")
    first = register_challenger(world.services, run)
    entries = len(world.services.audit.entries())
    assert register_challenger(world.services, run) == first
    assert len(world.services.audit.entries()) == entries
    assert len(world.registry.versions(MODEL)) == 1


def test_the_same_content_of_another_night_is_the_same_version(world):
    register_challenger(world.services, world.trained("night-1", "a"))
    second = register_challenger(world.services, world.trained("night-2", "a"))
    assert second.version == 1
    assert len(world.registry.versions(MODEL)) == 1


def refused(world, run):
    with pytest.raises(PromotionRefused) as caught:
        register_challenger(world.services, run)
    stored = world.services.records.get(run.key, PromotionDecision)
    assert not stored.outcome.satisfied
    assert stored.version is None
    assert world.registry.versions(MODEL) == []
    return str(caught.value)


def test_a_missing_receipt_refuses(world):
    run = world.trained("night-1", "a")
    world.specs.spec = Spec(gates=Gates((*world.specs.spec.gates.names, "latency")))
    assert "gate latency has no receipt" in refused(world, run)


def test_a_receipt_too_many_refuses(world):
    run = world.trained("night-1", "a")
    world.specs.spec = Spec(gates=Gates(("smoke",)))
    assert "there is a receipt of beats_naive, which the spec does not name" in refused(world, run)


def test_a_spec_without_gates_refuses(world):
    run = world.trained("night-1", "a")
    world.specs.spec = Spec(gates=Gates(()))
    assert "the spec names no gate" in refused(world, run)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE])
def test_an_unsatisfied_receipt_refuses(world, outcome):
    run = world.trained("night-1", "a")
    known = world.services.records.get(run.key, GateReceipt, "smoke")
    worse = known.model_copy(update={"verdict": known.verdict.model_copy(update={"outcome": outcome})})
    world.services.records.put(run.key, worse, "smoke")
    assert f"smoke {outcome}" in refused(world, run)


def test_a_waiver_is_said_in_the_decision(world):
    run = world.trained("night-1", "a")
    known = world.services.records.get(run.key, GateReceipt, "smoke")
    verdict = known.verdict.model_copy(update={"outcome": Outcome.WAIVED})
    ends = world.services.clock.now() + timedelta(days=1)
    waived = known.model_copy(update={"verdict": verdict, "waived_until": ends})
    world.services.records.put(run.key, waived, "smoke")
    assert register_challenger(world.services, run).outcome is Outcome.WAIVED


@pytest.mark.parametrize("ended", [timedelta(0), timedelta(days=2), None])
def test_a_waiver_that_has_ended_does_not_count(world, ended):
    run = world.trained("night-1", "a")
    known = world.services.records.get(run.key, GateReceipt, "smoke")
    verdict = known.verdict.model_copy(update={"outcome": Outcome.WAIVED})
    until = None if ended is None else world.services.clock.now() - ended
    world.services.records.put(run.key, known.model_copy(update={"verdict": verdict, "waived_until": until}), "smoke")
    assert "the waiver of smoke ended" in refused(world, run)


@pytest.mark.parametrize("field", ["model", "run", "candidate", "champion", "holdout", "spec_digest"])
def test_a_receipt_of_something_else_refuses(world, field):
    run = world.trained("night-1", "a")
    known = world.services.records.get(run.key, GateReceipt, "smoke")
    world.services.records.put(run.key, known.model_copy(update={field: "other"}), "smoke")
    assert "the receipt of smoke is of" in refused(world, run)


def test_a_spec_edited_since_refuses(world):
    run = world.trained("night-1", "a")
    world.specs.spec = Spec(digest="spec-2")
    assert "the spec has changed since the run began" in refused(world, run)


def test_a_champion_changed_since_refuses(world):
    run = world.trained("night-1", "a")
    world.champion("b")
    with pytest.raises(PromotionRefused, match="of champion none, not "):
        register_challenger(world.services, run)


def test_the_champion_itself_is_no_challenger(world):
    world.champion("a")
    with pytest.raises(PromotionRefused, match="byte for byte the same release"):
        register_challenger(world.services, world.trained("night-2", "a"))


def test_a_refusal_is_decided_and_audited_once(world):
    run = world.trained("night-1", "a")
    world.specs.spec = Spec(gates=Gates(("smoke",)))
    for _ in range(3):
        with pytest.raises(PromotionRefused):
            register_challenger(world.services, run)
    assert actions(world, "record.PromotionDecision") == ["record.PromotionDecision"]


def test_a_damaged_release_is_not_registered(world):
    run = world.trained("night-1", "a")
    release = world.services.records.get(run.key, TrainedModel).release
    (world.folder / "releases" / "a" / "model.txt").write_text("b")
    with pytest.raises(IntegrityError):
        register_challenger(world.services, run)
    assert world.registry.versions(MODEL) == []
    assert world.services.ledger.standing(MODEL, release.digest) is None


# ---- promotion -------------------------------------------------------------------------------------


def test_a_first_model_becomes_champion(world):
    run = world.champion("a")
    assert world.stable() == "id-a"
    assert world.registry.aliases(MODEL) == {"champion": 1}
    assert {report.stable for report in world.server.reports(MODEL)} == {"id-a"}
    assert promote(world.services, run).replaced is None


def test_promotion_replaces_and_remembers(world):
    world.champion("a")
    run = world.champion("b")
    record = promote(world.services, run)
    assert (record.candidate.version_id, record.replaced.version_id, record.champion_epoch) == ("id-b", "id-a", 2)
    routing = world.services.routing.read(MODEL)
    assert (routing.stable.version, routing.previous.version, routing.canary, routing.weight_ppm) == (2, 1, None, 0)
    assert world.registry.aliases(MODEL) == {"champion": 2, "previous": 1}
    assert world.registry.tags(2)["gauntlet.promoted_over"] == "v1 (id-a)"
    assert world.registry.tags(1)["gauntlet.replaced_by"] == "v2 (id-b)"
    assert {report.stable for report in world.server.reports(MODEL)} == {"id-b"}
    assert reconcile(world.services, MODEL, repair=False).agreed


def test_promoting_again_changes_nothing(world):
    world.champion("a")
    run = world.champion("b")
    entries = len(world.services.audit.entries())
    assert promote(world.services, run) == promote(world.services, run)
    assert len(world.services.audit.entries()) == entries


def ready(world, content="b"):
    world.champion("a")
    source = world.trained("night-b", content)
    register_challenger(world.services, source)
    return source, world.ramped("canary-b", source)


def stays_out(world, run):
    with pytest.raises(PromotionRefused) as caught:
        promote(world.services, run)
    assert world.stable() == "id-a"
    assert world.services.ledger.intent(MODEL) is None
    return str(caught.value)


def test_a_ramp_that_is_not_done_does_not_promote(world):
    _, run = ready(world)
    state = world.services.records.get(run.key, RolloutState)
    world.services.records.put(run.key, state.model_copy(update={"phase": RolloutPhase.STEP}))
    assert "its rollout is in phase step" in stays_out(world, run)


def test_a_withdrawn_canary_does_not_promote(world):
    _, run = ready(world)
    routing = world.services.routing.read(MODEL)
    world.services.routing.swap(
        routing.model_copy(update={"canary": None, "weight_ppm": 0}),
        expected_epoch=routing.epoch,
        actor="ann",
        action="abort",
        reason="no",
    )
    assert "v2 (id-b) is not the canary any more" in stays_out(world, run)


def test_receipts_are_read_again_before_promotion(world):
    source, run = ready(world)
    known = world.services.records.get(source.key, GateReceipt, "smoke")
    failed = known.model_copy(update={"verdict": known.verdict.model_copy(update={"outcome": Outcome.FAILED})})
    world.services.records.put(source.key, failed, "smoke")
    assert "smoke failed" in stays_out(world, run)


def test_a_gate_added_to_the_spec_since_must_be_passed_too(world):
    _, run = ready(world)
    world.specs.spec = Spec(gates=Gates((*world.specs.spec.gates.names, "latency")))
    assert "gate latency has no receipt" in stays_out(world, run)


def test_a_quarantined_release_does_not_promote(world):
    source, run = ready(world)
    registered = world.services.records.get(source.key, RegisteredVersion)
    world.services.records.put(
        run.key,
        Quarantine(
            model=MODEL,
            release_digest=registered.release.digest,
            version_id=registered.version_id,
            version=2,
            rollout=None,
            reason="bad live",
            at=world.clock.now(),
        ),
        registered.release.digest,
    )
    assert "it is quarantined: bad live" in stays_out(world, run)


def say(world, who, *, yes=True, **more):
    answer_approval(world.services, MODEL, "night-a", approver=who, approved=yes, reason="looked at the card", **more)


@pytest.fixture(params=[{"approval": True}, {"bootstrap": "approval"}], ids=["every model", "a first model"])
def waiting(world, request):
    """A first model whose promotion wants a person."""
    world.with_rollout(**request.param)
    source = world.trained("night-a", "a")
    register_challenger(world.services, source)
    return world.ramped("canary-a", source)


def test_a_first_model_waits_for_a_person_where_the_spec_wants_one(world, waiting):
    for _ in range(2):
        with pytest.raises(DeploymentHeld, match=f"gauntlet approve {MODEL} --run night-a"):
            promote(world.services, waiting)
    assert world.stable() is None
    say(world, "bob")
    promote(world.services, waiting)
    assert world.stable() == "id-a"
    events = world.services.ledger.events(MODEL)
    assert [event.actor for event in events if event.after is S.APPROVED] == ["bob"]


@pytest.mark.parametrize("name", ["airflow", " Airflow"])
def test_who_asked_for_the_run_does_not_approve_its_model(world, waiting, name):
    say(world, name)
    with pytest.raises(DeploymentHeld, match="another one than who asked for the run"):
        promote(world.services, waiting)
    assert world.stable() is None


def test_a_name_typed_by_who_asked_for_the_run_approves_nothing(world, waiting):
    say(world, "bob", account=Account(name="airflow"))
    with pytest.raises(DeploymentHeld, match="another one than who asked for the run"):
        promote(world.services, waiting)
    assert world.stable() is None


def test_a_no_ends_the_wait(world, waiting):
    say(world, "bob")
    world.services.clock.moment += timedelta(minutes=1)
    say(world, "carol", yes=False)
    with pytest.raises(PromotionRefused, match="carol refuses it: looked at the card"):
        promote(world.services, waiting)
    assert world.stable() is None


def test_a_server_that_refuses_the_release_keeps_the_champion(world):
    _, run = ready(world)
    (world.folder / "releases" / "b" / "model.txt").write_text("flipped")
    assert "a server refused it" in stays_out(world, run)
    assert actions(world, "promotion.")[-1] == "promotion.abandoned"


def test_a_hand_moved_alias_must_be_settled_first(world):
    _, run = ready(world)
    world.registry.set_alias(MODEL, "champion", 2)
    with pytest.raises(Conflict, match=r"registry's champion is v2, the routing's v1 \(id-a\)"):
        promote(world.services, run)
    reconcile(world.services, MODEL, repair=True)
    promote(world.services, run)
    assert world.stable() == "id-b"


def test_a_server_down_before_the_swap_is_no_promotion_yet(world):
    _, run = ready(world)
    world.server.down = True
    with pytest.raises(InfrastructureError):
        promote(world.services, run)
    assert world.stable() == "id-a"
    world.server.down = False
    promote(world.services, run)
    assert world.stable() == "id-b"


def test_a_lease_renewed_in_between_does_not_lose_the_promotion(world):
    _, run = ready(world)
    prepare = world.server.prepare

    def renewing(model, release):
        routing = world.services.routing.read(MODEL)
        world.services.routing.swap(
            routing, expected_epoch=routing.epoch, actor="tick", action="rollout.renewed", reason="lease"
        )
        return prepare(model, release)

    world.server.prepare = renewing
    promote(world.services, run)
    assert world.stable() == "id-b"


# ---- rollback --------------------------------------------------------------------------------------


def test_rollback_returns_to_the_recorded_previous_champion(world):
    for content in "ab":
        world.champion(content)
    register_challenger(world.services, world.trained("night-x", "x"))  # version 3, never champion
    world.champion("c")  # version 4
    report = roll_back(world)
    assert (report.offender.version, report.restored.version, report.servers) == (4, 2, 2)
    routing = world.services.routing.read(MODEL)
    assert (routing.stable.version, routing.previous.version) == (2, 1)
    assert {item.stable for item in world.server.reports(MODEL)} == {"id-b"}
    assert world.registry.aliases(MODEL) == {"champion": 2, "previous": 1, "challenger": 3}
    assert reconcile(world.services, MODEL, repair=False).agreed
    assert verify(world.services.audit.entries()) == ()


def test_the_last_answer_of_the_offender_is_noted(world):
    world.champion("a")
    world.champion("b")
    apply = world.server.apply

    def answering(routing, timeout_s):
        moment = world.clock.now()
        answer = {"at": moment, "request_id": "r", "version_id": "id-b"}
        world.journal.append(MODEL, [answer, {**answer, "version_id": "id-a"}])
        return apply(routing, timeout_s)

    world.server.apply = answering
    report = roll_back(world)
    assert report.decided_at < report.last_served_at < report.applied_at


def test_the_offender_is_refused_until_somebody_clears_it(world):
    world.champion("a")
    world.champion("b")
    report = roll_back(world)
    run = world.trained("night-again", "b")
    with pytest.raises(PromotionRefused, match=r"content is quarantined since .* complaints"):
        register_challenger(world.services, run)
    clear_quarantine(world.services, MODEL, report.offender.release_digest, by="bob", reason="the feed was broken")
    assert register_challenger(world.services, run).version == 2
    assert world.services.ledger.standing(MODEL, report.offender.release_digest).state is S.APPROVED


def test_quarantine_is_by_content_not_by_name(world):
    world.champion("a")
    world.champion("b")
    roll_back(world)
    folder = world.folder / "releases" / "b2"
    release = world.release("b2")
    run = world.trained("night-again", "b2")
    same_trees = world.release("b").tree_digest
    trained = world.services.records.get(run.key, TrainedModel)
    world.services.records.put(
        run.key, trained.model_copy(update={"release": release.model_copy(update={"tree_digest": same_trees})})
    )
    assert folder.exists()
    with pytest.raises(PromotionRefused, match="quarantined"):
        register_challenger(world.services, run)


def test_there_must_be_something_to_return_to(world):
    with pytest.raises(RollbackRefused, match="no champion"):
        roll_back(world)
    world.champion("a")
    with pytest.raises(RollbackRefused, match="is the first champion; traffic is unchanged"):
        roll_back(world)
    assert world.stable() == "id-a"


def test_a_damaged_earlier_champion_is_passed_over(world):
    for content in "abc":
        world.champion(content)
    (world.folder / "releases" / "b" / "model.txt").write_text("flipped")
    assert roll_back(world).restored.version_id == "id-a"


def test_rollback_works_without_the_registry(world):
    world.champion("a")
    world.champion("b")
    world.registry.down = True
    report = roll_back(world)
    assert report.registry.startswith("aliases are left to the reconciler")
    assert {item.stable for item in world.server.reports(MODEL)} == {"id-a"}
    world.registry.down = False
    found = reconcile(world.services, MODEL, repair=False)
    assert found.outcome is Outcome.FAILED
    assert [item.what for item in found.differences] == ["alias previous", "alias champion"]
    assert reconcile(world.services, MODEL, repair=True).agreed
    assert world.registry.aliases(MODEL) == {"champion": 1}


def test_a_rollback_the_server_could_not_confirm_is_finished_not_repeated(world):
    for content in "abc":
        world.champion(content)
    world.server.down = True
    with pytest.raises(InfrastructureError):
        roll_back(world)
    assert world.stable() == "id-b"
    world.server.down = False
    assert roll_back(world).restored.version_id == "id-b"
    assert world.stable() == "id-b"


def test_the_same_request_twice_is_one_rollback(world):
    for content in "abc":
        world.champion(content)
    first = roll_back(world, request="manual__1")
    assert roll_back(world, request="manual__1") == first
    assert world.stable() == "id-b"
    roll_back(world, request="manual__2")
    assert world.stable() == "id-a"


def test_rollback_takes_the_canary_and_an_unfinished_promotion_with_it(world):
    world.champion("a")
    world.champion("b")
    source = world.trained("night-c", "c")
    register_challenger(world.services, source)
    run = world.ramped("canary-c", source)
    prepare = world.server.prepare

    def dying(model, release):
        raise InfrastructureError("the task is killed here")

    world.server.prepare = dying
    with pytest.raises(InfrastructureError):
        promote(world.services, run)
    world.server.prepare = prepare
    assert world.services.ledger.intent(MODEL).kind is IntentKind.PROMOTION
    assert roll_back(world).restored.version_id == "id-a"
    routing = world.services.routing.read(MODEL)
    assert (routing.canary, routing.weight_ppm) == (None, 0)
    candidate = world.services.records.get(source.key, RegisteredVersion).release.digest
    assert world.services.ledger.standing(MODEL, candidate).state is S.ROLLED_BACK
    with pytest.raises(PromotionRefused):
        promote(world.services, run)
    assert world.stable() == "id-a"


# ---- reconciliation --------------------------------------------------------------------------------


def test_agreement_is_said_once(world):
    world.champion("a")
    for _ in range(3):
        assert reconcile(world.services, MODEL, repair=False).agreed
    assert len(actions(world, "record.ReconcileReport")) == 1
    assert world.messages.sent == []


def test_a_server_behind_is_brought_along(world):
    world.champion("a")
    world.champion("b")
    content = world.server.document.read()
    content["routing"]["epoch"] = 1
    content["routing"]["stable"]["version_id"] = "id-a"
    world.server.document.write(content)
    found = reconcile(world.services, MODEL, repair=True)
    assert found.agreed
    assert {(item.place, item.what) for item in found.differences} == {
        (f"server worker-{n}", what) for n in (1, 2) for what in ("stable", "epoch")
    }
    assert world.messages.sent[0][0] == "info"
    assert {item.stable for item in world.server.reports(MODEL)} == {"id-b"}


def test_what_does_not_answer_is_not_agreed(world):
    world.champion("a")
    world.server.down = True
    found = reconcile(world.services, MODEL, repair=False)
    assert found.outcome is Outcome.ERROR
    assert found.unreachable == ("servers: the model server does not answer",)


def test_an_unfinished_promotion_is_finished(world):
    _, run = ready(world)
    set_alias = world.registry.set_alias

    def dying(*arguments):
        raise InfrastructureError("killed")

    world.registry.set_alias = dying
    with pytest.raises(InfrastructureError):
        promote(world.services, run)
    world.registry.set_alias = set_alias
    assert world.stable() == "id-b"
    found = reconcile(world.services, MODEL, repair=True)
    assert found.agreed
    assert found.resumed == "promotion canary-b"
    assert world.registry.aliases(MODEL) == {"champion": 2, "previous": 1}
    assert promote(world.services, run).candidate.version_id == "id-b"


# ---- the audit log ---------------------------------------------------------------------------------


def test_the_log_is_verified_against_its_copy(tmp_path):
    world = World(tmp_path, f"sqlite:///{tmp_path}/gauntlet.db")
    world.champion("a")
    assert verify_audit(world.services) == ()
    last = world.services.audit.entries()[-1].sequence
    with world.store.database.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM audit WHERE sequence = {last}")
    assert [(finding.sequence, finding.fault) for finding in verify_audit(world.services)] == [(last, "removed")]
    world.store.close()


# ---- aliases moved by hand -------------------------------------------------------------------------


def test_an_alias_moved_by_hand_is_alerted_and_by_setting_left_or_moved_back(world):
    world.champion("a")
    world.champion("b")
    world.registry.set_alias(MODEL, "champion", 1)
    left = reconcile(world.services, MODEL, repair=True, revert=False)
    assert left.outcome is Outcome.FAILED
    assert [(item.what, item.by_hand, item.repaired) for item in left.differences] == [("alias champion", True, False)]
    assert "alias champion is v1, moved by hand, should be v2; not repaired: the settings" in left.reason
    assert world.registry.aliases(MODEL)["champion"] == 1
    assert [severity for severity, _ in world.messages.sent] == ["critical"]
    assert reconcile(world.services, MODEL, repair=True, revert=False) == left.model_copy(
        update={"at": world.clock.moment}
    )
    assert len(world.messages.sent) == 1
    mended = reconcile(world.services, MODEL, repair=True, revert=True)
    assert mended.agreed
    assert world.registry.aliases(MODEL)["champion"] == 2
    assert [severity for severity, _ in world.messages.sent] == ["critical", "info"]
    assert reconcile(world.services, MODEL, repair=False).agreed
    world.registry.set_alias(MODEL, "champion", 1)
    assert not reconcile(world.services, MODEL, repair=False).agreed
    assert len(world.messages.sent) == 3


def test_an_alias_that_only_lags_is_always_repaired(world):
    world.champion("a")
    world.champion("b")
    world.registry.down = True
    roll_back(world)
    world.registry.down = False
    found = reconcile(world.services, MODEL, repair=True, revert=False)
    assert found.agreed
    assert not any(item.by_hand for item in found.differences)
    assert world.registry.aliases(MODEL) == {"champion": 1}


def test_a_version_deleted_by_hand_takes_its_alias_with_it_and_that_is_noticed(world):
    world.champion("a")
    world.registry.delete_alias(MODEL, "champion")
    found = reconcile(world.services, MODEL, repair=True, revert=False)
    assert found.differences[0].sentence.startswith("registry: alias champion is absent, moved by hand, should be v1")


@pytest.mark.parametrize(("reason", "actor"), [("", "ann"), ("  ", "ann"), ("complaints", " ")])
def test_a_rollback_needs_a_name_and_a_reason(world, reason, actor):
    world.champion("a")
    world.champion("b")
    with pytest.raises(SpecError, match="a rollback needs a name and a reason"):
        rollback(world.services, MODEL, reason=reason, actor=actor)
    assert world.stable() == "id-b"


def test_what_the_server_has_begun_the_command_finishes(world):
    for content in "abc":
        world.champion(content)
    begun = begin_rollback(world.services, MODEL, reason="complaints", actor="ann", request="cli-1")
    assert world.stable() == "id-b"
    assert world.registry.aliases(MODEL)["champion"] == 3
    report = roll_back(world, request="cli-1")
    assert (report.seconds, report.applied_at, report.servers) == (begun.seconds, begun.at, begun.servers)
    assert world.registry.aliases(MODEL) == {"champion": 2, "previous": 1}
    assert begin_rollback(world.services, MODEL, reason="complaints", actor="ann", request="cli-1") == report
    assert world.stable() == "id-b"
    assert actions(world, "rollback.routing") == ["rollback.routing"]


def test_what_nobody_finishes_the_reconciler_does(world):
    for content in "ab":
        world.champion(content)
    begun = begin_rollback(world.services, MODEL, reason="complaints", actor="ann", request="cli-1")
    found = reconcile(world.services, MODEL, repair=True)
    assert found.agreed
    assert found.resumed == "rollback cli-1"
    assert roll_back(world, request="cli-1").seconds == begun.seconds


def test_receipts_of_long_ago_do_not_promote(world):
    _, run = ready(world)
    world.clock.moment += timedelta(days=21)
    told = stays_out(world, run)
    assert all(
        f"the receipt of {gate} is 21.0 days old > 21; start a new run" in told for gate in world.specs.spec.gates.names
    )


def test_receipts_of_long_ago_do_not_register(world):
    run = world.trained("night-1", "a")
    world.clock.moment += timedelta(days=22)
    assert "the receipt of smoke is 22.0 days old > 21" in refused(world, run)


def test_a_server_that_serves_somebody_else_must_be_settled_first(world):
    _, run = ready(world)
    content = world.server.document.read()
    content["routing"]["stable"]["version_id"] = "id-x"
    world.server.document.write(content)
    with pytest.raises(Conflict, match=r"server worker-1 serves id-x, the routing says v1 \(id-a\)"):
        promote(world.services, run)
    assert world.stable() == "id-a"
    assert world.services.ledger.intent(MODEL) is None
    world.server.document.write(content | {"routing": world.services.routing.read(MODEL).model_dump(mode="json")})
    assert promote(world.services, run).candidate.version_id == "id-b"


def test_a_promotion_does_its_steps_in_a_fixed_order(world, monkeypatch):
    """Intent, every server has loaded it, traffic, aliases with the way back first, tags, and the intent's end."""
    _, run = ready(world)
    told = []

    def watch(owner, name, say):
        inner = getattr(owner, name)

        def watched(*arguments, **more):
            told.append(say(*arguments))
            return inner(*arguments, **more)

        monkeypatch.setattr(owner, name, watched)

    ledger = world.services.ledger
    watch(ledger, "commit", lambda change: f"{change.intent.stage.value}{' and traffic' if change.routing else ''}")
    watch(world.server, "prepare", lambda *_: "server loads")
    watch(world.server, "apply", lambda *_: "server serves")
    watch(world.registry, "set_alias", lambda model, alias, version: f"{alias} = {version}")
    watch(world.registry, "delete_alias", lambda model, alias: f"no {alias}")
    watch(world.registry, "tag_version", lambda model, version, tags: f"tags of {version}")
    promote(world.services, run)
    assert told == [
        "opened",
        "server loads",
        "routed and traffic",
        "server serves",
        "previous = 1",
        "champion = 2",
        "no challenger",
        "tags of 2",
        "tags of 1",
        "done",
    ]
    tags = world.registry.tags(2)
    assert tags["gauntlet.promoted_by"] == "airflow"
    assert tags["gauntlet.promoted_at"] == world.services.ledger.champion(MODEL).since.isoformat()
    assert tags["gauntlet.promotion_reason"]


def test_the_way_back_asks_for_no_gate(world):
    """Integrity, golden answers and a release that loads are enough: nothing is judged while the house burns."""
    world.champion("a")
    world.champion("b")
    world.specs.spec = Spec(gates=Gates((*world.specs.spec.gates.names, "latency")), digest="spec-2")
    world.with_rollout(approval=True)
    assert roll_back(world).restored.version_id == "id-a"


def test_what_was_checked_before_a_rollback_opens_no_promotion(world, monkeypatch):
    """Of two workers with the same promotion one is slow: meanwhile the other's is opened, and undone by a rollback."""
    for content in "ab":
        world.champion(content)
    source = world.trained("night-c", "c")
    register_challenger(world.services, source)
    run = world.ramped("canary-c", source)

    def meanwhile(*_, **__):
        monkeypatch.undo()
        monkeypatch.setattr("gauntlet.stages.promote.finish_promotion", lambda *_: None)
        promote(world.services, run)
        monkeypatch.undo()
        roll_back(world, request="manual__1")

    monkeypatch.setattr("gauntlet.stages.promote.check_open", meanwhile)
    with pytest.raises(Conflict, match="it has changed since this was decided"):
        promote(world.services, run)
    assert world.stable() == "id-a"
    assert len(actions(world, "promotion.opened")) == len("abc")
