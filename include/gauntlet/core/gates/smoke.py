"""Five smoke tests and five error scenarios: does it run at all, and does it refuse what it must?"""

from __future__ import annotations

from collections.abc import Iterator

from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence, need
from gauntlet.core.gates.verdict import conclude, fact, measurement
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.evaluation import ProbeReport
from gauntlet.core.records.gates import GateVerdict, Measurement

NAME = "smoke"
TESTS = ("load", "infer", "output_valid", "batch", "latency")
SCENARIOS = ("missing_model_file", "wrong_feature_names", "missing_features", "nan_inputs", "predict_before_load")


class SmokeConfig(GateConfig):
    """Nothing to set: all ten count, always."""


def evaluate(evidence: Evidence, config: SmokeConfig) -> GateVerdict:  # noqa: ARG001 - one signature for all gates
    """All ten checks were made on this candidate and hold."""
    probe = need(evidence.probe, "probe report")
    return conclude(NAME, [_same(probe, evidence), *_all(probe)])


def _all(probe: ProbeReport) -> Iterator[Measurement]:
    found = {check.name: check for check in probe.checks}
    for title, names in (("smoke test", TESTS), ("error scenario", SCENARIOS)):
        for place, name in enumerate(names, 1):
            lead = f"[{place}/{len(names)}] {title} {name}"
            item = found.get(name)
            if item is None:
                yield measurement(name, Outcome.ERROR, f"{lead} was not made: 0 of 1 results", None, 1.0, "=")
            else:
                yield fact(name, item.passed, f"{lead}: {item.detail or ('holds' if item.passed else 'does not hold')}")


def _same(probe: ProbeReport, evidence: Evidence) -> Measurement:
    if probe.candidate != evidence.candidate:
        text = (
            f"the probe was of {probe.candidate[:12]}, not of candidate {evidence.candidate[:12]}: 0 of 10 checks count"
        )
        return measurement("checks", Outcome.ERROR, text)
    held = sum(check.passed for check in probe.checks if check.name in TESTS + SCENARIOS)
    wanted = len(TESTS + SCENARIOS)
    text = f"{held} {'=' if held == wanted else '<'} {wanted} smoke tests and error scenarios hold"
    return measurement("checks", Outcome.PASSED if held == wanted else Outcome.FAILED, text, held, wanted, "=")
