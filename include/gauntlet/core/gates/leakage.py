"""Is the holdout unseen: by the candidate's training, and by the champion's?"""

from __future__ import annotations

from typing import Literal

from gauntlet.core.gates.config import GateConfig, Share
from gauntlet.core.gates.contamination import contaminated
from gauntlet.core.gates.evidence import Evidence, Frame, need, rows_of
from gauntlet.core.gates.verdict import check, conclude, fact, measurement, number
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateVerdict, Measurement

NAME = "leakage"


class LeakageConfig(GateConfig):
    """The limits of the leakage task itself are in ``split.leakage``."""

    champion_overlap: Literal["fail", "exclude"] = "fail"
    """Holdout rows that are in-sample for the champion: fail, or leave them out of the comparison and say so."""
    alike: Share = 0.01
    """Only without ``source.columns.key``, where a row is known by its content: largest share of rows that may be
    equal to another one, two people who filled in the same form. With a key no row occurs twice."""

    def tolerated(self, keyed: bool, n: int) -> int:
        """How many of n rows may occur twice."""
        return 0 if keyed else int(self.alike * n)


def evaluate(evidence: Evidence, config: LeakageConfig) -> GateVerdict:
    """The leakage task's findings, distinct holdout rows, and champion contamination."""
    frame, _ = rows_of(evidence)
    found = [
        *_task(evidence, len(frame)),
        _distinct(frame, config.tolerated(_keyed(evidence), len(frame))),
        *_trained_through(evidence, frame),
    ]
    if evidence.champion is not None:
        found.append(_champion(evidence, frame, config))
    return conclude(NAME, found)


def _task(evidence: Evidence, n: int) -> list[Measurement]:
    report, dataset = need(evidence.leakage, "leakage report"), need(evidence.dataset, "snapshot record")
    if report.dataset != dataset.sha256:
        text = f"leakage was checked on snapshot {report.dataset[:12]}, not on {dataset.sha256[:12]}"
        return [measurement("leakage", Outcome.ERROR, text, n=n)]
    failed = [finding.sentence for finding in report.findings if not finding.outcome.satisfied]
    sign = ">" if failed else "≤"
    text = (
        f"{len(failed)} findings {sign} 0 of {len(report.findings)} leakage checks "
        f"on {number(n)} holdout rows: {report.reason}"
    )
    return [
        measurement("leakage", report.outcome, text, len(failed), 0, "≤", n=n),
        check("leakage_checks", len(report.findings), "≥", 1, n=n),
        check("leakage_findings", len(failed), "≤", 0, n=n),
    ]


def _keyed(evidence: Evidence) -> bool:
    return evidence.spec.source.columns.key is not None


def _distinct(frame: Frame, limit: int) -> Measurement:
    import numpy as np

    twice = len(frame) - len(np.unique(frame.row_key))
    return check("repeated_holdout_rows", twice, "≤", limit, n=len(frame))


def _trained_through(evidence: Evidence, frame: Frame) -> list[Measurement]:
    """The candidate's own cut-off, from its sidecar: the holdout begins after it."""
    import numpy as np

    from gauntlet.core.gates.contamination import microseconds

    sidecar = need(evidence.sidecar, "sidecar of the candidate")
    if frame.event_us is None or evidence.spec.split.kind != "time":
        return []
    if sidecar.trained_through is None:
        return [measurement("trained_through", Outcome.ERROR, "the candidate does not say how far its training went")]
    early = int(np.sum(frame.event_us <= microseconds(sidecar.trained_through)))
    return [check("holdout_rows_not_after_training", early, "≤", 0, n=len(frame))]


def _champion(evidence: Evidence, frame: Frame, config: LeakageConfig) -> Measurement:
    bad, n = int(contaminated(evidence, frame).sum()), len(frame)
    if config.champion_overlap == "exclude" and bad < n:
        text = f"{number(bad)} holdout rows in-sample for the champion are left out, < {number(n)} rows of the holdout"
        return fact("champion_overlap", True, text, n=n)
    late = evidence.champion_facts is not None and evidence.champion_facts.trained_through is not None
    limit = 0 if late and frame.event_us is not None else config.tolerated(_keyed(evidence), n)
    return check("holdout_rows_in_champion_training", bad, "≤", limit, n=n)
