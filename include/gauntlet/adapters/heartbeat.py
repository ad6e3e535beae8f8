"""A dead man's switch over HTTP, as healthchecks.io, Cronitor and the like offer it."""

from __future__ import annotations

from gauntlet.core.errors import InfrastructureError

TIMEOUT_S = 10.0


class Heartbeat:
    """Implements :class:`~gauntlet.core.ports.Beat`; without an address it is silent."""

    def __init__(self, url: str | None) -> None:
        """The address to ask; it is a secret and never shown."""
        self._url = url

    def beat(self) -> None:
        """Ask the address once."""
        if self._url is None:
            return
        import httpx

        try:
            httpx.get(self._url, timeout=TIMEOUT_S, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            raise InfrastructureError(f"GAUNTLET_HEARTBEAT_URL does not answer: {type(error).__name__}") from None
