"""Tell people: one message to everybody, and what Airflow has seen of a run that failed or is late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gauntlet.core.addresses import dashboard, runbook
from gauntlet.core.errors import GauntletError, InfrastructureError

if TYPE_CHECKING:
    from gauntlet.core.ports import Notifier, Services
    from gauntlet.core.spec import ModelSpec


def send_to_all(
    notifiers: Iterable[Notifier], subject: str, body: str, *, severity: str, labels: Mapping[str, str]
) -> list[str]:
    """Give one message to every notifier, whatever the others do; why each that did not take it did not."""
    return [str(error) for error in failures(notifiers, subject, body, severity=severity, labels=labels)]


def failures(
    notifiers: Iterable[Notifier], subject: str, body: str, *, severity: str, labels: Mapping[str, str]
) -> list[GauntletError]:
    """The same, as the errors that were raised."""
    failed = []
    for notifier in notifiers:
        try:
            notifier.send(subject, body, severity=severity, labels=labels)
        except GauntletError as error:
            failed.append(error)
    return failed


def tell(services: Services, model: str, subject: str, body: str, *, severity: str, about: Mapping[str, str]) -> None:
    """Give a message to every notifier, for the team of the model's owner; what was sent is in the audit log.

    It ends with the dashboard and the runbook.

    ``about``: what the message is of, as labels (``dag``, ``run``, ``kind``).

    Raises:
        InfrastructureError: a notifier did not take it; all the others have it by then.
    """
    notifiers, spec = tuple(services.notifiers), services.specs.get(model)
    labels = {"model": model, "team": spec.owner.team, **about}
    body = "\n".join([body, *ways(services, spec), f"Runbook: {runbook(spec, services.addresses)}"])
    unsent = send_to_all(notifiers, subject, body, severity=severity, labels=labels)
    detail = {
        "reason": subject,
        "severity": severity,
        "told": len(notifiers) - len(unsent),
        **about,
        **({"unsent": "; ".join(unsent)} if unsent else {}),
    }
    services.audit.append("airflow", "notice", model, about.get("run", model), detail)
    if unsent:
        raise InfrastructureError(f"{model}: not everybody was told that {subject}: {'; '.join(unsent)}")


def ways(services: Services, spec: ModelSpec) -> list[str]:
    """The line of a message that leads to the dashboard; none where nobody has said where it is."""
    where = dashboard(spec, services.addresses)
    return [f"Dashboard: {where}"] if where else []
