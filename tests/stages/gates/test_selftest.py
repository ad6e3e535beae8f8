"""The self-test on a real run: every known-bad variant of it is refused, and a gate that guards nothing is named."""

from __future__ import annotations

from dataclasses import replace

from tests.stages.gates.test_run_gate import approve, respecified

from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.gates.verdict import check, conclude
from gauntlet.core.records.observation import HoldoutRead
from gauntlet.stages.gates_selftest import selftest


def test_every_known_bad_variant_is_refused(nights):
    approve(nights, nights.second)
    report = selftest(nights.lending.services, nights.second)
    assert report.outcome == "passed", report.reason
    tried = [result for result in report.results if result.caught is not None]
    assert len(tried) >= 75
    assert {result.gate for result in tried} == set(GATES)
    assert nights.lending.services.records.newest(nights.second.model, HoldoutRead) == []


def test_a_gate_that_does_not_pass_proves_nothing(nights):
    run = respecified(nights, latency={"p50_us": 0.001})
    report = selftest(nights.lending.services, run)
    found = [result for result in report.results if result.gate == "latency"]
    assert found
    assert all(result.caught is None for result in found)
    assert all("does not pass on this run as it is" in result.reason for result in found)


def test_a_gate_that_guards_nothing_is_named(nights, monkeypatch):
    approve(nights, nights.second)

    def blind(evidence, config):
        return conclude("golden", [check("hope", 1.0, "≥", 0.0, n=1)])

    monkeypatch.setitem(GATES, "golden", replace(GATES["golden"], evaluate=blind))
    report = selftest(nights.lending.services, nights.second)
    assert report.outcome == "failed"
    assert "golden let through: golden scores changed" in report.reason


def test_with_nothing_tried_nothing_is_proven(nights):
    off = dict.fromkeys(GATES, "off: not today") | {"approval": {"approvers": ["ann"]}}
    run = respecified(nights, **off)
    report = selftest(nights.lending.services, run)
    assert {result.gate for result in report.results} == {"approval"}
    assert report.outcome == "passed"
    gone = respecified(nights, **(off | {"approval": "off: nobody asks"}))
    empty = selftest(nights.lending.services, gone)
    assert (empty.outcome, empty.results) == ("error", ())
