"""Recording a waiver: refused at once when it would never count."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.stages.gates.test_run_gate import respecified

from gauntlet.core.errors import GateFailed, MissingRecord, Rejection, SpecError
from gauntlet.core.gates.catalogue import GATES
from gauntlet.stages.answer_approval import answer_approval
from gauntlet.stages.run_gate import run_gate
from gauntlet.stages.waive import waive

GOOD = {"reason": "the host was busy with a backup", "approver": "ann", "lasts": timedelta(hours=24)}


def test_a_waiver_lets_a_refused_gate_pass_when_it_is_asked_again(nights):
    services, run = nights.lending.services, respecified(nights, latency={"p50_us": 0.001})
    services.records.put(run.key, run)
    with pytest.raises(GateFailed):
        run_gate(services, run, "latency")
    waive(services, run.model, run.run, "latency", **GOOD)
    assert run_gate(services, run, "latency").verdict.outcome == "waived"
    newest = services.audit.entries(run.model)
    assert any(entry.actor == "ann" and entry.action == "record.Waiver" for entry in newest)


@pytest.mark.parametrize("gate", [name for name, gate in GATES.items() if not gate.waivable])
def test_gates_that_are_never_waived(nights, gate):
    with pytest.raises(Rejection, match=f"{gate} can never be waived"):
        waive(nights.lending.services, nights.second.model, nights.second.run, gate, **GOOD)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"approver": "carol"}, "has asked for the run"),
        ({"approver": " "}, "names no approver"),
        ({"reason": "  because "}, "reason has less than 10 characters"),
        ({"lasts": timedelta(0)}, "ends before it begins"),
    ],
)
def test_a_waiver_that_would_not_count_is_refused(nights, changes, why):
    with pytest.raises(Rejection, match=why):
        waive(nights.lending.services, nights.second.model, nights.second.run, "latency", **(GOOD | changes))


def test_an_unknown_gate_or_run(nights):
    with pytest.raises(SpecError, match="did you mean 'latency'"):
        waive(nights.lending.services, nights.second.model, nights.second.run, "latncy", **GOOD)
    with pytest.raises(MissingRecord):
        waive(nights.lending.services, nights.second.model, "no-such-night", "latency", **GOOD)


def test_a_recorded_word_is_what_the_approval_gate_judges(nights):
    services, run = nights.lending.services, nights.second
    words = {"approver": "ann", "reason": "checked the slices"}
    answer_approval(services, run.model, run.run, approved=False, **words)
    with pytest.raises(GateFailed, match="rejected by ann"):
        run_gate(services, run, "approval")
    nights.lending.clock.time += timedelta(minutes=1)
    answer_approval(services, run.model, run.run, approved=True, **words)
    assert run_gate(services, run, "approval").verdict.outcome == "passed"
    with pytest.raises(Rejection, match="a name and a reason"):
        answer_approval(services, run.model, run.run, approver=" ", approved=True, reason="yes")
    with pytest.raises(MissingRecord):
        answer_approval(services, run.model, "no-such-night", approved=True, **words)
