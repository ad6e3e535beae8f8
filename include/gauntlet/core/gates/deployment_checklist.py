"""Is everything there that the person on call will look for?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gauntlet.core.gates import smoke
from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence, need
from gauntlet.core.gates.verdict import conclude, fact
from gauntlet.core.records.gates import GateVerdict

NAME = "deployment_checklist"
VERSION_ID = re.compile(r"v_\d{8}T?\d{6}Z?_[0-9a-f]{8}")
ROLLBACK = "rollback_target"


class DeploymentChecklistConfig(GateConfig):
    """Items cannot be left out; the gate as a whole can be switched off."""

    monitoring: bool = True
    """Whether a scheduled drift check is asked for."""


def evaluate(evidence: Evidence, config: DeploymentChecklistConfig) -> GateVerdict:
    """Version id, metadata, smoke, errors, latency, output, rollback target, monitoring, runbook, owner."""
    items = list(_items(evidence, config))
    return conclude(NAME, [fact(name, holds, text, n=len(items)) for name, holds, text in _numbered(items)])


Item = tuple[str, bool, str]


def _numbered(items: list[Item]) -> Iterator[Item]:
    """``[3/10] owner: lending <mail>: yes = yes``: what was looked at, and what was wanted."""
    for place, (name, holds, text) in enumerate(items, 1):
        yield name, holds, f"[{place}/{len(items)}] {name}: {text} ({'1 =' if holds else '0 ≠'} 1)"


def _items(evidence: Evidence, config: DeploymentChecklistConfig) -> Iterator[Item]:
    trained, sidecar = need(evidence.trained, "training record"), need(evidence.sidecar, "sidecar of the candidate")
    owner, version = evidence.spec.owner, trained.release.version_id
    yield "version_id", VERSION_ID.fullmatch(version) is not None, f"{version!r} as v_<utc timestamp>_<sha256[:8]>"
    yield "metadata", *_metadata(evidence)
    yield from _probed(evidence)
    yield (
        "trees",
        sidecar.tree_digest == trained.release.tree_digest,
        f"tree digest {sidecar.tree_digest[:12]} recorded",
    )
    yield "rollback_target", *_rollback(evidence)
    watched = evidence.spec.schedule.drift_check is not None or not config.monitoring
    yield "monitoring", watched, f"drift check {evidence.spec.schedule.drift_check or 'not scheduled'}"
    yield "runbook", bool(owner.runbook.strip()), owner.runbook or "no runbook"
    yield "owner", bool(owner.team.strip()) and "@" in owner.email, f"{owner.team} <{owner.email}>"


def _metadata(evidence: Evidence) -> tuple[bool, str]:
    trained, sidecar = need(evidence.trained, "training record"), need(evidence.sidecar, "sidecar of the candidate")
    absent = [
        name
        for name, value in (
            ("mlflow run", trained.mlflow_run_id),
            ("dataset", trained.dataset),
            ("split", trained.split),
            ("profile", trained.profile_digest),
            ("features", sidecar.features),
        )
        if not value
    ]
    if sidecar.model != evidence.spec.model or sidecar.version_id != trained.release.version_id:
        absent.append(f"sidecar of {sidecar.model} {sidecar.version_id}")
    return not absent, f"missing {', '.join(absent)}" if absent else "run, dataset, split, profile, features"


def _probed(evidence: Evidence) -> Iterator[Item]:
    probe = need(evidence.probe, "probe report")
    held = {check.name for check in probe.checks if check.passed} if probe.candidate == evidence.candidate else set()
    for item, names in (
        ("smoke", smoke.TESTS),
        ("errors", smoke.SCENARIOS),
        ("latency", ("latency",)),
        ("output_validation", ("output_valid",)),
    ):
        count = sum(name in held for name in names)
        yield item, count == len(names), f"{count} of {len(names)} checks hold"


def _rollback(evidence: Evidence) -> tuple[bool, str]:
    if evidence.champion is None:
        return True, "no champion yet: the first model has nothing to return to"
    found = [item for item in need(evidence.observations, "measurements") if item.kind == ROLLBACK]
    return any(item.value == 1 for item in found), "; ".join(
        item.detail for item in found
    ) or "loading it was not tried"
