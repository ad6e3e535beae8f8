"""Every known-bad run is rejected by the gate that should see it, and the good one by none."""

from __future__ import annotations

import pytest
from tests.mutations.world import good

from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.gates.judge import judge_gate
from gauntlet.core.gates.mutations import BY_GATE, MUTATIONS, Mutation

LEAST = 40


def applying(task: str, champion: bool) -> list[Mutation]:
    off = {"fairness"} if task == "regression" else set()
    return [
        item for item in MUTATIONS if item.gate not in off and item.applies(good(item.gate, task, champion=champion))
    ]


def test_there_are_enough_and_every_gate_has_some():
    assert len(MUTATIONS) >= LEAST
    assert len({(item.gate, item.name) for item in MUTATIONS}) == len(MUTATIONS)
    assert set(BY_GATE) == set(GATES)


@pytest.mark.parametrize("champion", [True, False], ids=["champion", "first"])
@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("gate", GATES)
def test_a_good_run_passes(gate, task, champion):
    if (gate, task) == ("fairness", "regression"):
        return
    verdict = judge_gate(gate, good(gate, task, champion=champion))
    assert verdict.outcome == "passed", verdict.reason


@pytest.mark.parametrize("mutation", applying("binary", True), ids=lambda item: f"{item.gate}: {item.name}")
def test_a_bad_run_is_rejected(mutation):
    evidence = mutation.change(good(mutation.gate))
    verdict = judge_gate(mutation.gate, evidence)
    assert not verdict.outcome.satisfied
    assert verdict.reason
    assert judge_gate(mutation.gate, evidence) == verdict


@pytest.mark.parametrize("mutation", applying("regression", True), ids=lambda item: f"{item.gate}: {item.name}")
def test_a_bad_regression_is_rejected(mutation):
    assert not judge_gate(mutation.gate, mutation.change(good(mutation.gate, "regression"))).outcome.satisfied


@pytest.mark.parametrize("mutation", applying("binary", False), ids=lambda item: f"{item.gate}: {item.name}")
def test_a_bad_first_run_is_rejected(mutation):
    assert not judge_gate(mutation.gate, mutation.change(good(mutation.gate, champion=False))).outcome.satisfied
