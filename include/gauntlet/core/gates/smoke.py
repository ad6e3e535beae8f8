"""Five smoke tests and five error scenarios: does it run at all, and does it refuse what it must?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence, probe_of
from gauntlet.core.gates.verdict import conclude, fact, measurement
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.evaluation import SmokeCheck
from gauntlet.core.records.gates import GateVerdict, Measurement

NAME = "smoke"
TESTS = ("load", "infer", "output_valid", "batch", "latency")
SCENARIOS = ("missing_model_file", "wrong_feature_names", "missing_features", "nan_inputs", "predict_before_load")


class SmokeConfig(GateConfig):
    """Nothing to set: all ten count, always."""


def evaluate(evidence: Evidence, config: SmokeConfig) -> GateVerdict:  # noqa: ARG001 - one signature for all gates
    """All ten checks were made on this candidate and hold."""
    found = {check.name: check for check in probe_of(evidence).checks}
    return conclude(NAME, [_count(found), *_each(found)])


def _count(found: Mapping[str, SmokeCheck]) -> Measurement:
    wanted = TESTS + SCENARIOS
    held = [name for name in wanted if name in found and found[name].passed]
    absent = [name for name in wanted if name not in found]
    text = f"{len(held)} {'=' if held == [*wanted] else '<'} {len(wanted)} smoke tests and error scenarios hold"
    if absent:
        text += f"; not made: {', '.join(absent)}"
    outcome = Outcome.PASSED if len(held) == len(wanted) else Outcome.FAILED
    return measurement("checks", outcome, text, len(held), len(wanted), "=", n=len(found))


def _each(found: Mapping[str, SmokeCheck]) -> Iterator[Measurement]:
    for title, names in (("smoke test", TESTS), ("error scenario", SCENARIOS)):
        for place, name in enumerate(names, 1):
            lead, item = f"[{place}/{len(names)}] {title} {name}", found.get(name)
            if item is None:
                yield measurement(name, Outcome.ERROR, f"{lead} was not made: 0 of 1 results", None, 1.0, "=")
            else:
                yield fact(name, item.passed, f"{lead}: {item.detail or ('holds' if item.passed else 'does not hold')}")
