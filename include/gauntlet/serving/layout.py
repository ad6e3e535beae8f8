"""Where a server keeps its state on local disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gauntlet.core.records.rollout import ServedVersion
from gauntlet.serving.snapshot import write_durably


class Layout:
    """Paths under the state folder, and the list of releases that every worker loads at start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.words = folder / "control.words"
        self.routing = folder / "routing"
        self.releases = folder / "releases"
        self.config = folder / "config.json"
        self.address = folder / "address.json"
        self.lock = folder / "lock"
        self._known = folder / "releases.json"

    def counters(self, slot: int) -> Path:
        """A worker slot's counters."""
        return self.folder / f"worker-{slot}.counters"

    def release(self, digest: str) -> Path:
        """This server's own copy of a release."""
        return self.releases / digest

    def read_releases(self) -> dict[str, list[dict[str, Any]]]:
        """Per model, the versions that were warm last, oldest first."""
        try:
            known: dict[str, list[dict[str, Any]]] = json.loads(self._known.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return known

    def write_releases(self, known: Mapping[str, Sequence[ServedVersion]]) -> None:
        """Keep the list for the next start."""
        plain = {model: [served.model_dump() for served in versions] for model, versions in known.items()}
        write_durably(self._known, json.dumps(plain, indent=1).encode())
