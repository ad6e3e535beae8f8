"""What holds of every gate, whatever it is given: total, deterministic, never green without evidence."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.mutations.world import good, spec

from gauntlet.core.errors import InfrastructureError, SpecError
from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.gates.evidence import Evidence, Frame
from gauntlet.core.gates.judge import evaluated, judge_gate
from gauntlet.core.gates.verdict import check, conclude, measurement
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateVerdict

PARTS = [item.name for item in fields(Evidence) if item.default is None]
READS_SCORES = ("absolute_performance", "beats_naive", "versus_champion", "calibration", "slices", "prediction_sanity")
SMALL = 400
# Judging many random holdouts: the bootstrap is not what is looked at here.
WILD = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def sane(verdict: GateVerdict, gate: str) -> None:
    assert verdict.gate == gate
    assert verdict.reason.strip()
    assert "\n" not in verdict.reason
    if verdict.outcome is Outcome.PASSED:
        assert verdict.measurements
        assert all(item.outcome is Outcome.PASSED and item.observed is not None for item in verdict.measurements)
    assert GateVerdict.model_validate_json(verdict.model_dump_json()) == verdict


@pytest.mark.parametrize("gate", GATES)
def test_with_no_evidence_at_all_nothing_passes(gate):
    full = good(gate)
    bare = Evidence(full.spec, full.run, full.judged_at, full.candidate, full.champion)
    verdict = judge_gate(gate, bare)
    sane(verdict, gate)
    # Whether today is a frozen day is known from the spec and the clock alone.
    assert verdict.outcome is (Outcome.PASSED if gate == "freeze_window" else Outcome.ERROR)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("gate", GATES)
def test_without_one_part_it_is_judged_without_or_not_at_all(gate, part):
    verdict = judge_gate(gate, replace(good(gate), **{part: None}))
    sane(verdict, gate)
    assert verdict.outcome in (Outcome.PASSED, Outcome.ERROR, Outcome.FAILED)


@pytest.mark.parametrize("gate", GATES)
def test_the_same_evidence_gives_the_same_bytes(gate):
    one, two = (judge_gate(gate, good(gate, seed=4)) for _ in range(2))
    assert one.model_dump_json() == two.model_dump_json()


@pytest.mark.parametrize("gate", GATES)
def test_the_clock_decides_only_where_it_should(gate):
    evidence = good(gate)
    later = replace(evidence, judged_at=evidence.judged_at.replace(year=2027))
    same = judge_gate(gate, evidence).outcome is judge_gate(gate, later).outcome
    assert same is (gate != "approval")


@pytest.mark.parametrize("gate", READS_SCORES)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, float("nan"), float("inf"), -float("inf")])
def test_constant_and_unreal_scores_never_pass(gate, value):
    evidence = good(gate)
    assert evidence.frame is not None
    frame = replace(evidence.frame, candidate=np.full(len(evidence.frame), value))
    verdict = judge_gate(gate, replace(evidence, frame=frame))
    sane(verdict, gate)
    assert not verdict.outcome.satisfied


@pytest.mark.parametrize("gate", [name for name, gate in GATES.items() if gate.holdout and name != "robustness"])
def test_an_empty_holdout_never_passes(gate):
    evidence = good(gate)
    assert evidence.frame is not None
    assert evidence.evaluation is not None
    none = evidence.frame.only(np.zeros(len(evidence.frame), dtype=bool))
    record = evidence.evaluation.model_copy(update={"rows": 0})
    assert not judge_gate(gate, replace(evidence, frame=none, evaluation=record)).outcome.satisfied


@pytest.mark.parametrize("gate", [name for name, gate in GATES.items() if gate.measured])
def test_no_measurements_never_pass(gate):
    if gate == "deployment_checklist":
        assert not judge_gate(gate, replace(good(gate), observations=())).outcome.satisfied
    for found in ((), tuple(item.model_copy(update={"value": None}) for item in good(gate).observations or ())):
        assert not judge_gate(gate, replace(good(gate), observations=found)).outcome.satisfied
    unreal = tuple(item.model_copy(update={"value": float("nan")}) for item in good(gate).observations or ())
    assert not judge_gate(gate, replace(good(gate), observations=unreal)).outcome.satisfied


NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(
    gate=st.sampled_from([name for name, gate in GATES.items() if gate.holdout]),
    scores=hnp.arrays(np.float64, SMALL, elements=NUMBERS),
    label=hnp.arrays(np.float64, SMALL, elements=st.sampled_from([0.0, 1.0, float("nan"), 2.0])),
    champion=hnp.arrays(np.float64, SMALL, elements=NUMBERS),
)
@WILD
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_holdout_gets_a_verdict(gate, scores, label, champion):
    evidence = good(gate, n=SMALL)
    assert evidence.frame is not None
    frame = replace(evidence.frame, candidate=scores, label=label, champion=champion)
    evidence = replace(evidence, frame=frame)
    verdict = judge_gate(gate, evidence)
    sane(verdict, gate)
    assert judge_gate(gate, evidence) == verdict


@given(
    gate=st.sampled_from([name for name, gate in GATES.items() if gate.measured]),
    values=st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), min_size=30, max_size=30),
)
@WILD
def test_any_measurement_gets_a_verdict(gate, values):
    evidence = good(gate)
    found = tuple(
        item.model_copy(update={"value": value})
        for item, value in zip(evidence.observations or (), values, strict=False)
    )
    sane(judge_gate(gate, replace(evidence, observations=found)), gate)


@pytest.mark.parametrize("gate", GATES)
def test_the_reason_says_what_was_seen_and_what_was_wanted(gate):
    """Two numbers with a relation between them, and how many rows (or items) they are of."""
    reason = judge_gate(gate, good(gate)).reason
    assert re.search(r"\d.* [≥≤><=] ?.*\d", reason), reason
    for item in judge_gate(gate, good(gate)).measurements:
        assert re.search(r"[≥≤><=:]", item.sentence), item.sentence


@pytest.mark.parametrize(
    ("gate", "change"),
    [
        ("absolute_performance", {"metrics": {"roc_auc": {"minimum": 0.5, "maximum": 1.0}, "f1": {"minimum": 0.0}}}),
        ("versus_champion", {"margin": 0.5}),
        ("calibration", {"ece": 0.9, "slope": [0, 9]}),
        ("overfit", {"gap": 10}),
        ("latency", {"p50_us": 1e9, "p95_us": 1e9, "p99_us": 1e9}),
        ("size_memory", {"model_mb": 1e9, "rss_mb": 1e9}),
        ("robustness", {"noise_loss": 9, "missing_loss": 9}),
        ("golden", {"tolerance": 9}),
        ("infra_validation", {"load_seconds": 1e6, "p50_ms": 1e6, "p99_ms": 1e6, "rss_mb": 1e9, "tolerance": 1}),
        ("label_quality", {"conflicting": 1, "smallest_class": 0}),
    ],
)
def test_a_looser_limit_never_refuses_what_a_tighter_one_passed(gate, change):
    assert judge_gate(gate, good(gate)).outcome is Outcome.PASSED
    assert judge_gate(gate, good(gate, gates={gate: change})).outcome is Outcome.PASSED


def test_better_scores_are_never_judged_worse():
    """Moving scores towards the label can only help where they are compared with floors and the naive model."""
    for gate in ("absolute_performance", "beats_naive", "versus_champion"):
        evidence = good(gate, gates={"absolute_performance": {"metrics": {"f1": {"minimum": 0.4}}}})
        passed = []
        for share in (0.0, 0.25, 0.5, 0.9):
            frame = evidence.frame
            assert frame is not None
            mixed = share * (0.05 + 0.9 * frame.label) + (1 - share) * frame.candidate
            passed.append(judge_gate(gate, replace(evidence, frame=replace(frame, candidate=mixed))).outcome.satisfied)
        assert passed == sorted(passed)


# ---- the wrapper -----------------------------------------------------------------------------------


def with_gate(monkeypatch, evaluate):
    monkeypatch.setitem(GATES, "golden", replace(GATES["golden"], evaluate=evaluate))
    return judge_gate("golden", good("golden"))


def test_an_exception_is_an_error(monkeypatch):
    def broken(evidence, config):
        raise ZeroDivisionError("division by zero")

    verdict = with_gate(monkeypatch, broken)
    assert (verdict.outcome, "ZeroDivisionError" in verdict.reason) == (Outcome.ERROR, True)


def test_a_service_that_fails_is_no_verdict(monkeypatch):
    def down(evidence, config):
        raise InfrastructureError("no answer")

    with pytest.raises(InfrastructureError):
        with_gate(monkeypatch, down)


def test_a_hollow_pass_is_an_error(monkeypatch):
    hollow = conclude("golden", [check("x", 1.0, "≥", 0.0, n=5)])
    assert evaluated(hollow).outcome is Outcome.PASSED
    empty = hollow.model_copy(update={"measurements": ()})
    assert evaluated(empty).outcome is Outcome.ERROR
    unseen = hollow.model_copy(update={"measurements": (measurement("x", Outcome.PASSED, "fine"),)})
    assert evaluated(unseen).outcome is Outcome.ERROR
    assert with_gate(monkeypatch, lambda evidence, config: empty).outcome is Outcome.ERROR


def test_an_unknown_gate_and_one_that_is_off_are_refused():
    with pytest.raises(SpecError, match="unknown gate"):
        judge_gate("vibes", good("golden"))
    off = replace(good("golden"), spec=spec(golden="off: none kept"))
    with pytest.raises(SpecError):
        judge_gate("golden", off)


def test_nothing_measured_is_an_error():
    assert conclude("golden", []).outcome is Outcome.ERROR


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200, deadline=None)
def test_a_number_meets_its_limit_or_is_an_error(observed, limit):
    found = check("x", observed, "≥", limit, n=3)
    if not np.isfinite(observed):
        assert found.outcome is Outcome.ERROR
    else:
        assert found.outcome is (Outcome.PASSED if observed >= limit else Outcome.FAILED)
        shown = found.sentence.removeprefix("x ").split(" on ")[0]
        assert ("≥" in shown) is (observed >= limit)
    assert check("x", 1.0, "≥", 0.0, n=0).outcome is Outcome.ERROR


def test_numbers_that_differ_are_shown_to_differ():
    assert check("auc", 0.71996, "≥", 0.72, n=9).sentence == "auc 0.71996 < 0.72000 on 9 rows"
    assert check("auc", 0.741, "≥", 0.72, n=12480, positives=1911).sentence == (
        "auc 0.741 ≥ 0.720 on 12 480 rows (1 911 positive)"
    )


def test_frames_are_cut_whole():
    frame = good("leakage").frame
    assert isinstance(frame, Frame)
    half = frame.only(np.arange(len(frame)) % 2 == 0)
    assert len(half) == len(half.candidate) == len(half.columns["region"]) == len(half.seen) == len(frame) // 2
