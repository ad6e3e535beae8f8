"""Which gates a challenger must pass, and their limits."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, RootModel


class GatesSection(RootModel[dict[str, Any]]):
    """Gate name to its configuration, or ``off: <reason>``. Every gate in the catalogue must appear."""

    model_config = ConfigDict(frozen=True)
