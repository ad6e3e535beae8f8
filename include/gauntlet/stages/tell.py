"""Tell people what Airflow has seen of a run: that it failed, or that it is late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gauntlet.core.errors import GauntletError, InfrastructureError

if TYPE_CHECKING:
    from gauntlet.core.ports import Services


def tell(services: Services, model: str, subject: str, body: str, *, severity: str, about: Mapping[str, str]) -> None:
    """Give a message to every notifier, to the team of the model's owner; what was sent is in the audit log.

    ``about``: what the message is of, as labels (``dag``, ``run``, ``kind``).

    Raises:
        InfrastructureError: a notifier did not take it; all the others have it by then.
    """
    owner = services.specs.get(model).owner
    told, unsent = 0, []
    for notifier in services.notifiers:
        try:
            notifier.send(subject, body, severity=severity, labels={"model": model, "team": owner.team, **about})
            told += 1
        except GauntletError as error:
            unsent.append(str(error))
    detail = {
        "reason": subject,
        "severity": severity,
        "told": told,
        **about,
        **({"unsent": "; ".join(unsent)} if unsent else {}),
    }
    services.audit.append("airflow", "notice", model, about.get("run", model), detail)
    if unsent:
        raise InfrastructureError(f"{model}: not everybody was told that {subject}: {'; '.join(unsent)}")
