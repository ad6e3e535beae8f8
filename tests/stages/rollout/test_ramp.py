"""A rollout from challenger to the last step, and out again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gauntlet.core.digest import sha256_file
from gauntlet.core.errors import Conflict, MissingRecord, RolloutAborted
from gauntlet.core.ledger import Change, Ground, transition
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.ledger import CandidateState
from gauntlet.core.records.rollout import CanaryAnalysis, PreflightReport, Quarantine, RolloutPhase

MODEL = "loans"


def skewed(x: np.ndarray) -> np.ndarray:
    """The challenger's score when one feature arrives in other units."""
    return 0.05 + 0.5 * np.minimum(1, 2.5 * x) ** 2


def test_good_challenger_ramps_to_bake(world: Any) -> None:
    state = world.start()
    assert (state.phase, state.step, state.weight_ppm) == (RolloutPhase.STEP, 0, 50_000)
    weights = [world.routing.weight_ppm]
    for step in range(3):
        state = world.look(step, wait=2, requests=200)
        assert state.step_done(step), state.reason
        weights.append(world.routing.weight_ppm)
    assert state.phase is RolloutPhase.BAKE
    assert weights == [50_000, 500_000, 1_000_000, 1_000_000]
    assert world.server.routing.epoch == world.routing.epoch
    analysis = world.store.records.get(f"{MODEL}/canary-1", CanaryAnalysis, "step-2")
    assert analysis.outcome is Outcome.PASSED
    assert analysis.paired == 200


def test_challenger_with_skew_is_taken_out_at_the_first_step(world: Any) -> None:
    world.start()
    with pytest.raises(RolloutAborted, match=r"version 2 was taken out in step 1.*traffic was back"):
        world.look(0, wait=2, requests=200, live={"id2": skewed})
    assert world.routing.canary is None
    assert world.routing.weight_ppm == 0
    assert world.server.routing == world.routing
    state = world.state()
    assert state.phase is RolloutPhase.ROLLED_BACK
    assert state.withdraw_seconds is not None
    quarantine = world.store.records.newest(MODEL, Quarantine, name=state.candidate.release_digest)
    assert [entry.version for entry in quarantine] == [2]
    assert any(severity == "critical" for severity, _ in world.inbox.sent)


def test_a_rolled_back_rollout_stays_so_and_its_release_does_not_come_back(world: Any) -> None:
    world.start()
    with pytest.raises(RolloutAborted):
        world.look(0, wait=2, requests=200, live={"id2": skewed})
    epoch, entries = world.routing.epoch, len(world.store.audit.entries())
    with pytest.raises(RolloutAborted):
        world.look(0, wait=2)
    assert world.close().phase is RolloutPhase.ROLLED_BACK
    assert world.routing.epoch == epoch
    assert len(world.store.audit.entries()) == entries
    with pytest.raises(RolloutAborted, match="quarantined"):
        world.open("canary-2")


def test_no_traffic_is_never_a_pass(world: Any) -> None:
    world.start()
    for _ in range(20):
        state = world.look(0, wait=2)
        assert not state.step_done(0)
    assert state.analysis.outcome is Outcome.INCONCLUSIVE
    assert world.routing.weight_ppm == 50_000


def test_incomplete_journal_never_passes(world: Any) -> None:
    world.start()
    world.journal.incomplete = True
    assert not world.look(0, wait=3, requests=400).step_done(0)
    world.journal.incomplete = False
    assert world.look(0, wait=1).step_done(0)


def test_first_model_needs_no_ramp(make_world: Any) -> None:
    world = make_world()
    world.challenger(1)
    assert world.start().phase is RolloutPhase.BAKE
    assert world.look(2).step_done(2)
    assert world.routing.canary is None


def test_open_is_idempotent_and_takes_the_newest(world: Any) -> None:
    world.challenger(3, run="night-3")
    first = world.open()
    world.challenger(4, run="night-4")
    assert world.open() == first
    assert first.candidate.version == 3


def test_one_rollout_at_a_time(world: Any) -> None:
    world.start()
    world.challenger(3, run="night-3")
    with pytest.raises(Conflict, match="under way"):
        world.open("canary-2")
    world.clock.wait(60)
    taken = world.open("canary-2")
    assert taken.candidate.version == 3
    assert world.state().phase is RolloutPhase.SUPERSEDED
    assert world.routing.canary is None


def test_nothing_to_roll_out_is_said(make_world: Any) -> None:
    world = make_world()
    world.champion()
    with pytest.raises(RolloutAborted, match="no candidate has passed"):
        world.open()


def test_steps_are_taken_in_turn(world: Any) -> None:
    world.open()
    with pytest.raises(MissingRecord, match="preflight"):
        world.look(0)
    world.start()
    with pytest.raises(MissingRecord, match="step 2 comes after"):
        world.look(1)


def test_close_without_a_verdict_returns_the_traffic(world: Any) -> None:
    world.start()
    closed = world.close()
    assert closed.phase is RolloutPhase.ROLLED_BACK
    assert world.routing.canary is None
    assert world.server.routing.weight_ppm == 0
    assert not world.store.records.newest(MODEL, Quarantine)
    assert world.close() == closed


def test_close_after_promotion_says_promoted(world: Any) -> None:
    world.start()
    candidate = world.state().candidate
    before = world.routing
    world.store.ledger.commit(promotion(world, before, candidate))
    assert world.close().phase is RolloutPhase.PROMOTED
    assert world.routing.stable == candidate
    assert world.look(2).phase is RolloutPhase.PROMOTED


def promotion(world: Any, before: Any, candidate: Any) -> Change:
    change = Change(model=MODEL, actor="t", action="promote", reason="r")
    ground = Ground(
        before,
        world.store.ledger.champion(MODEL),
        {candidate.release_digest: world.store.ledger.standing(MODEL, candidate.release_digest)},
        None,
    )
    promoting = transition(change, ground, candidate, CandidateState.PROMOTING)
    world.store.ledger.commit(replace(change, transitions=(promoting,)))
    routing = before.model_copy(
        update={"stable": candidate, "previous": before.stable, "canary": None, "weight_ppm": 0, "rollout": None}
    )
    return replace(change, routing=routing, routing_epoch=before.epoch, champion_epoch=ground.champion.epoch)


def test_close_of_a_run_without_rollout(world: Any) -> None:
    assert world.close() is None


def test_preflight_refusal_ends_the_rollout(world: Any) -> None:
    world.server.refuses = "model.txt differs from its manifest"
    with pytest.raises(RolloutAborted, match="refuses it: model"):
        world.start()
    assert world.state().phase is RolloutPhase.ROLLED_BACK
    report = world.store.records.get(f"{MODEL}/canary-1", PreflightReport)
    assert report.outcome is Outcome.FAILED
    assert world.routing.canary is None
    with pytest.raises(RolloutAborted):
        world.start()


def test_preflight_finds_a_server_that_scores_otherwise(world: Any) -> None:
    world.server.scores["id2"] = lambda x: np.full(x.size, np.nan)
    with pytest.raises(RolloutAborted, match="largest difference inf"):
        world.start()


# ---- what the holdout has shown


def bolder(x: np.ndarray) -> np.ndarray:
    """A challenger that scores everybody higher, online as offline."""
    return 0.20 + 0.5 * x * x


def evaluated(world: Any, champion: str) -> None:
    """The evaluation of the challenger's run, on a holdout like the traffic."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    x = np.random.default_rng(3).random(4000)
    scores = {name: world.server.scores[version](x) for name, version in (("candidate", "id2"), ("champion", "id1"))}
    path = world.folder / "evaluation.parquet"
    pq.write_table(pa.table({f"{name}_score": score for name, score in scores.items()}), path)
    evaluation = EvaluationRef(
        uri=world.blobs.put_file(path, "evaluations/e.parquet"),
        sha256=sha256_file(path),
        rows=4000,
        positives=None,
        candidate="id2",
        champion=champion,
        holdout="h",
        spec_digest="s",
        first_event=None,
        last_event=None,
        candidate_threshold=0.2,
        champion_threshold=0.2,
    )
    world.store.records.put(f"{MODEL}/night-2", evaluation)


def test_a_difference_the_gates_have_accepted_is_no_news(make_world: Any) -> None:
    world = make_world()
    world.champion()
    world.challenger(score=bolder)
    evaluated(world, champion=world.routing.stable.release_digest)
    world.start()
    expected = world.store.records.get(f"{MODEL}/canary-1", PreflightReport).expected
    assert expected.rows == 4000
    assert expected.score_shift == pytest.approx(1.0, abs=0.05)
    assert expected.decision_rate_change == pytest.approx(0.548, abs=0.02)
    assert world.look(0, wait=2, requests=300).step_done(0)


@pytest.mark.parametrize("known", [False, True])
def test_a_difference_nobody_has_seen_or_seen_against_somebody_else_is_news(make_world: Any, known: bool) -> None:
    world = make_world()
    world.champion()
    world.challenger(score=bolder)
    if known:
        evaluated(world, champion="an earlier champion")
    world.start()
    assert world.store.records.get(f"{MODEL}/canary-1", PreflightReport).expected is None
    with pytest.raises(RolloutAborted, match="score_psi"):
        world.look(0, wait=2, requests=300)
