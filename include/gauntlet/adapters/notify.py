"""Messages through Apprise: Slack, PagerDuty, e-mail, webhooks and a hundred other services, by URL.

Routes are environment, because addresses are secrets: ``GAUNTLET_NOTIFY`` is a JSON object from team to severity
to URLs; ``*`` is any team. ``airflow://<id>`` means the URL that Airflow's connection keeps. A severity without
addresses of its own falls back to the other one's: a page must reach somebody.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gauntlet.core.errors import InfrastructureError, PartlyTold, SpecError
from gauntlet.core.registry import did_you_mean

SEVERITIES = ("page", "warning", "critical", "info")
ANY = "*"
AIRFLOW = "airflow://"
Routes = Mapping[str, Mapping[str, Sequence[str]]]


def read_routes(text: str) -> Routes:
    """Read ``GAUNTLET_NOTIFY``.

    >>> read_routes('{"*": {"page": ["json://localhost"]}}')
    {'*': {'page': ['json://localhost']}}

    Raises:
        SpecError: it is no such object; the message shows no address.
    """
    try:
        plain = json.loads(text)
    except ValueError as error:
        raise SpecError(f"GAUNTLET_NOTIFY: is no JSON: {error.args[0].split(':')[0]}") from None
    if not isinstance(plain, dict):
        raise SpecError("GAUNTLET_NOTIFY: must be an object from team to severity to a list of URLs")
    for team, by_severity in plain.items():
        if not isinstance(by_severity, dict):
            raise SpecError(f"GAUNTLET_NOTIFY: {team}: must be an object from severity to a list of URLs")
        for severity, urls in by_severity.items():
            if severity not in SEVERITIES:
                raise SpecError(f"GAUNTLET_NOTIFY: {team}.{severity}: {did_you_mean(severity, SEVERITIES)}")
            if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
                raise SpecError(f"GAUNTLET_NOTIFY: {team}.{severity}: must be a list of URLs")
    return plain


class AppriseNotifier:
    """Implements :class:`~gauntlet.core.ports.Notifier`."""

    def __init__(
        self,
        routes: Routes,
        *,
        team_of: Callable[[str], str] = lambda _model: ANY,
        connection_url: Callable[[str], str] | None = None,
    ) -> None:
        """``team_of`` a model, for messages that name no team; ``connection_url``: what an Airflow connection keeps."""
        self._routes = routes
        self._team_of = team_of
        self._connection_url = connection_url

    def send(self, subject: str, body: str, *, severity: str, labels: Mapping[str, str]) -> None:
        """Send to everybody the team and severity are routed to.

        Raises:
            InfrastructureError: nobody is routed to, or no service took the message. No address is shown.
            PartlyTold: some services took it and others did not.
        """
        apprise = _apprise()
        team = labels.get("team") or (self._team_of(labels["model"]) if "model" in labels else ANY)
        urls = self._urls(team, severity)
        if not urls:
            raise InfrastructureError(f"GAUNTLET_NOTIFY names nobody for {severity} of team {team}")
        failed = []
        for number, url in enumerate(urls, 1):
            target = apprise.Apprise()
            if not target.add(self._resolved(url)):
                failed.append(f"address {number} of {len(urls)} is none that Apprise knows")
            elif not target.notify(title=subject, body=body, notify_type=_kind(severity, labels)):
                failed.append(f"{target[0].service_name} (address {number} of {len(urls)}) did not take it")
        if failed:
            raise (InfrastructureError if len(failed) == len(urls) else PartlyTold)("; ".join(failed))

    def _urls(self, team: str, severity: str) -> list[str]:
        urgent = severity in ("page", "critical")
        for who in (team, ANY):
            routes = self._routes.get(who, {})
            for name in ("page", "critical", "warning", "info") if urgent else ("warning", "info", "page", "critical"):
                if routes.get(name):
                    return list(routes[name])
        return []

    def _resolved(self, url: str) -> str:
        if not url.startswith(AIRFLOW):
            return url
        if self._connection_url is None:
            raise InfrastructureError(f"{url}: connections are known inside Airflow only")
        return self._connection_url(url.removeprefix(AIRFLOW))


def _apprise() -> Any:
    with warnings.catch_warnings():
        # It looks for every library it could use, deprecated ones too.
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise
        from apprise.manager_plugins import NotificationManager

        plugins: Any = NotificationManager
        plugins().load_modules()
    return apprise


def _kind(severity: str, labels: Mapping[str, str]) -> str:
    if labels.get("kind") == "resolved":
        return "success"
    return "failure" if severity in ("page", "critical") else "warning"
