"""A version with the champion's trees before every gate, on real data: judged like any candidate."""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest

from gauntlet.core.errors import GateFailed
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateReceipt
from gauntlet.core.records.model import TrainedModel
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.stages.check_contract import check_contract
from gauntlet.stages.check_leakage import check_leakage
from gauntlet.stages.derive import derive
from gauntlet.stages.evaluate import evaluate
from gauntlet.stages.order_derivation import order_derivation
from gauntlet.stages.probe import probe
from gauntlet.stages.pull_data import pull_data
from gauntlet.stages.run_gate import run_gate
from gauntlet.stages.split_data import split_data

# What a person or the calendar says is no matter of trees.
ASKED_ELSEWHERE = {"approval", "freeze_window"}


@pytest.fixture
def asked(nights):
    """The receipts of a recalibration of the first night's champion, on the second night's data."""
    lending = nights.lending
    services, spec = lending.services, lending.specs.spec
    run = RunContext(
        model=spec.model,
        run="recalibrate",
        as_of=nights.second.as_of,
        kind=TriggerKind.MANUAL,
        reason="probabilities are off",
        requested_by="carol",
        force_retrain=False,
        spec_digest=spec.digest,
        opened_at=nights.second.opened_at,
    )
    services.records.put(run.key, run)
    order_derivation(services, run)
    with patch.dict(os.environ, CREDIT_DEFAULT_DATA=str(lending.data)):
        for stage in (pull_data, check_contract, split_data, check_leakage, derive, evaluate, probe):
            stage(services, run)
    receipts: dict[str, GateReceipt] = {}
    for gate in spec.gates.names:
        try:
            receipts[gate] = run_gate(services, run, gate)
        except GateFailed:
            receipts[gate] = services.records.get(run.key, GateReceipt, gate)
    return services, run, receipts


def test_every_gate_has_a_sensible_answer(asked) -> None:
    services, run, receipts = asked
    trained = services.records.get(run.key, TrainedModel)
    assert {receipt.candidate for receipt in receipts.values()} == {trained.release.digest}
    told = {gate: f"{one.verdict.outcome}: {one.verdict.reason}" for gate, one in receipts.items()}
    odd = {
        gate: told[gate]
        for gate, one in receipts.items()
        if one.verdict.outcome is not Outcome.PASSED and gate not in ASKED_ELSEWHERE | {"versus_champion"}
    }
    assert odd == {}
    assert "same trees as the champion" in told["overfit"]
    # Ranking is the same, and no tree is newer: only calibration or profit can make it worth the risk.
    versus = told["versus_champion"]
    assert "roc_auc" in versus
    if not receipts["versus_champion"].satisfied:
        assert "superior on 0" in versus
        assert "freshness: same trees as the champion" in versus
