"""``gauntlet doctor``: is this installation able to do its work, and to undo it?"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from gauntlet.bootstrap import services
from gauntlet.core.errors import GauntletError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Record
from gauntlet.settings import Settings, settings

PACKAGES = (
    "apache-airflow",
    "mlflow",
    "lightgbm",
    "great-expectations",
    "pandas",
    "numpy",
    "scipy",
    "duckdb",
    "pyarrow",
)
CONNECT_S = 2.0


class Finding(Record):
    """One check of the installation."""

    check: str
    outcome: Outcome
    sentence: str


def examine() -> tuple[Finding, ...]:
    """Every check; one that raises is a finding, never an end."""
    return tuple(_findings(settings()))


def _findings(current: Settings) -> Iterator[Finding]:
    yield _versions()
    yield _check("state", lambda: _state(current))
    yield _check("mlflow", lambda: _reachable(current.mlflow_url))
    yield _check("model server", lambda: _reachable(current.server_url))
    for model in services().specs.names():
        yield _check(f"spec {model}", partial(_spec, model))
        yield _check(f"agreement {model}", partial(_agreement, model))
        yield _check(f"rollback target {model}", partial(_rollback_target, model))
        yield _check(f"deployments {model}", partial(_deployments, model))
    yield _check("audit log", _audit)


def _check(name: str, look: Callable[[], tuple[Outcome, str]]) -> Finding:
    try:
        outcome, sentence = look()
    except (GauntletError, OSError, ValueError) as error:
        outcome, sentence = Outcome.FAILED, f"{type(error).__name__}: {error}"
    return Finding(check=name, outcome=outcome, sentence=sentence)


def _versions() -> Finding:
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        return Finding(
            check="versions", outcome=Outcome.FAILED, sentence=f"not installed: {', '.join(missing)}; run make install"
        )
    return Finding(check="versions", outcome=Outcome.PASSED, sentence=", ".join(found))


def _state(current: Settings) -> tuple[Outcome, str]:
    entries = len(services().audit.entries())
    where = current.database.rsplit("@", 1)[-1]
    return Outcome.PASSED, f"control database {where} answers; {entries} audit entries"


def _reachable(url: str) -> tuple[Outcome, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return Outcome.PASSED, f"{url} needs no server"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", port), timeout=CONNECT_S):
            return Outcome.PASSED, f"{url} accepts connections"
    except OSError as error:
        return Outcome.FAILED, f"{url} does not answer ({error}); start it with make up"


def _spec(model: str) -> tuple[Outcome, str]:
    spec = services().specs.get(model)
    return Outcome.PASSED, f"valid; {len(spec.gates.names)} gates, {len(spec.rollout.steps)} ramp steps"


def _agreement(model: str) -> tuple[Outcome, str]:
    from gauntlet.pipeline import reconcile

    report = reconcile(model, repair=False)
    return report.outcome, report.reason


def _rollback_target(model: str) -> tuple[Outcome, str]:
    """A target that cannot be fetched and verified is no target."""
    running = services()
    routing = running.routing.read(model)
    if routing.stable is None:
        return Outcome.PASSED, "no champion yet, nothing to roll back"
    if routing.previous is None:
        return Outcome.INCONCLUSIVE, "the champion is the first: there is no previous version to return to"
    running.blobs.fetch_folder(routing.previous.release_uri, routing.previous.release_digest)
    return Outcome.PASSED, f"{routing.previous.version_id} is complete and verified"


def _deployments(model: str) -> tuple[Outcome, str]:
    """A freeze is as it should be; a stopped line is somebody's open question; an unreadable calendar is a fault."""
    from gauntlet.stages.hold import frozen, holding
    from gauntlet.stages.line import stopped

    who = stopped(services(), model)
    if who is not None:
        return Outcome.INCONCLUSIVE, f"the line is stopped by {who}"
    hold = holding(services(), model, starting=True)
    if hold is None:
        return Outcome.PASSED, "open"
    if not hold.known:
        return Outcome.FAILED, hold.reason
    return Outcome.PASSED, f"waiting, as they should: {frozen(services(), model, starting=True)}"


def _audit() -> tuple[Outcome, str]:
    from gauntlet.stages.verify_audit import verify_audit

    entries = services().audit.entries()
    findings = verify_audit(services())
    return (Outcome.FAILED, str(findings[0])) if findings else (Outcome.PASSED, f"{len(entries)} entries, unbroken")
