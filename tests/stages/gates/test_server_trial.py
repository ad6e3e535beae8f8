"""The trial on a model server: made by the task probe, once, and judged by the gate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.stages.gates.conftest import Nights

from gauntlet.core.errors import GateFailed, InfrastructureError
from gauntlet.core.ports import Trial
from gauntlet.core.records.gates import GateReceipt
from gauntlet.core.records.observation import ServerTrial
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.probe import probe
from gauntlet.stages.run_gate import run_gate
from gauntlet.stages.server_trial import try_on_server


class Trials:
    """Tells what it was made with, and counts."""

    def __init__(self, trial: Trial | Exception) -> None:
        self.trial, self.made = trial, 0

    def run(self, *_: Any) -> Trial:
        self.made += 1
        if isinstance(self.trial, Exception):
            raise self.trial
        return self.trial


def test_the_night_has_tried_its_candidate_and_the_gate_says_what_came_of_it(nights: Nights) -> None:
    services = nights.lending.services
    trial = services.records.get(nights.second.key, ServerTrial)
    kinds = {item.kind: item for item in trial.observations}
    assert kinds["unanswered"].value == 0
    assert kinds["score_change"].value is not None
    assert kinds["score_change"].value <= 1e-9
    assert kinds["http_p99_ms"].rows >= 300
    receipt = run_gate(services, nights.second, "infra_validation")
    assert receipt.verdict.outcome == "passed"
    assert "load_seconds" in receipt.verdict.reason


def test_a_trial_is_made_once_per_candidate_and_spec(nights: Nights) -> None:
    services = nights.lending.services
    trials = Trials(Trial(problem="never to be seen"))
    again = replace(services, trials=trials)
    probe(again, nights.second)
    assert trials.made == 0
    try_on_server(again, nights.second.model_copy(update={"spec_digest": "0" * 64}))
    assert trials.made == 1


def test_a_release_that_no_server_takes_fails_the_gate_and_not_the_probe(nights: Nights) -> None:
    services = nights.lending.services
    known = services.records.get(nights.second.key, ServerTrial)
    services.records.put(nights.second.key, known.model_copy(update={"candidate": "of another night"}))
    with pytest.raises(GateFailed, match="no trial of this candidate on a model server"):
        run_gate(services, nights.second, "infra_validation")
    try_on_server(replace(services, trials=Trials(Trial(problem="the server refuses it: too wide"))), nights.second)
    with pytest.raises(GateFailed, match="the server refuses it: too wide"):
        run_gate(services, nights.second, "infra_validation")
    assert services.records.get(nights.second.key, GateReceipt, "infra_validation").verdict.outcome == "failed"


def test_a_server_that_does_not_start_is_worth_another_try(nights: Nights) -> None:
    services = nights.lending.services
    run = nights.second.model_copy(update={"spec_digest": "0" * 64})
    before = services.records.get(run.key, ServerTrial)
    with pytest.raises(InfrastructureError):
        try_on_server(replace(services, trials=Trials(InfrastructureError("no port"))), run)
    assert services.records.get(run.key, ServerTrial) == before


def test_a_spec_that_does_not_want_the_gate_starts_no_server(nights: Nights) -> None:
    specs = nights.lending.specs
    document = specs.spec.model_dump(mode="json")
    document["gates"]["infra_validation"] = "off: scored in batches only"
    specs.spec = ModelSpec.model_validate(document)
    trials = Trials(Trial())
    assert try_on_server(replace(nights.lending.services, trials=trials), nights.second) is None
    assert trials.made == 0
