"""Our server for a benchmark: ``python ours.py FOLDER WORKERS``. Reads its routing row from FOLDER/routing.json."""

from __future__ import annotations

import sys
from pathlib import Path

from gauntlet.core.records.rollout import Routing
from gauntlet.core.specs.serving import ServingSection
from gauntlet.serving.main import ModelServing, ServerConfig, serve

TOKEN = "benchmark"


def config(folder: Path, workers: int) -> ServerConfig:
    """One model, all defaults."""
    return ServerConfig(
        models={"bench": ModelServing("customer", ServingSection())},
        state=folder / "state",
        journal=folder / "journal",
        admin_socket=folder / "admin.sock",
        admin_token=TOKEN,
        port=0,
        workers=workers,
    )


def main() -> None:
    """Serve until told to stop."""
    folder, workers = Path(sys.argv[1]), int(sys.argv[2])

    def read_routing(_: str) -> Routing:
        return Routing.model_validate_json((folder / "routing.json").read_bytes())

    serve(config(folder, workers), lambda uri, _: Path(uri.removeprefix("file://")), read_routing, lambda *_: None)


if __name__ == "__main__":
    main()
