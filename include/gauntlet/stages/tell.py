"""Tell people: one message to everybody, and what Airflow has seen of a run that failed or is late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gauntlet.core.errors import GauntletError, InfrastructureError

if TYPE_CHECKING:
    from gauntlet.core.ports import Notifier, Services


def send_to_all(
    notifiers: Iterable[Notifier], subject: str, body: str, *, severity: str, labels: Mapping[str, str]
) -> list[str]:
    """Give one message to every notifier, whatever the others do; why each that did not take it did not."""
    unsent = []
    for notifier in notifiers:
        try:
            notifier.send(subject, body, severity=severity, labels=labels)
        except GauntletError as error:
            unsent.append(str(error))
    return unsent


def tell(services: Services, model: str, subject: str, body: str, *, severity: str, about: Mapping[str, str]) -> None:
    """Give a message to every notifier, to the team of the model's owner; what was sent is in the audit log.

    ``about``: what the message is of, as labels (``dag``, ``run``, ``kind``).

    Raises:
        InfrastructureError: a notifier did not take it; all the others have it by then.
    """
    notifiers = tuple(services.notifiers)
    labels = {"model": model, "team": services.specs.get(model).owner.team, **about}
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
