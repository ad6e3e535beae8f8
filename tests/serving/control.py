"""What a server under test is handed: kept apart from the tests, because the server's process imports it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.records.rollout import Routing

if TYPE_CHECKING:
    from gauntlet.serving.config import ServerConfig

MODEL = "loans"


class ControlDatabase:
    """The routing rows and the events, as another process of the test keeps them; it can be taken away."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.routing_file = folder / "routing.json"
        self.events_file = folder / "events.jsonl"

    def write(self, row: Routing) -> None:
        temporary = self.routing_file.with_suffix(".tmp")
        temporary.write_text(row.model_dump_json())
        temporary.replace(self.routing_file)

    def read_routing(self, model: str) -> Routing:
        try:
            return Routing.model_validate_json(self.routing_file.read_bytes())
        except FileNotFoundError:
            return Routing(
                model=model,
                epoch=0,
                stable=None,
                canary=None,
                previous=None,
                weight_ppm=0,
                salt="",
                rollout=None,
                lease_until=None,
            )

    def report(self, kind: str, model: str, detail: Mapping[str, Any]) -> None:
        line = json.dumps({"kind": kind, "model": model, "detail": dict(detail)})
        with self.events_file.open("a") as file:
            file.write(line + "\n")

    def events(self, kind: str) -> list[dict[str, Any]]:
        if not self.events_file.exists():
            return []
        lines = [json.loads(line) for line in self.events_file.read_text().splitlines()]
        return [line["detail"] for line in lines if line["kind"] == kind]


def fetch_file(uri: str, _: str) -> Path:
    return Path(uri.removeprefix("file://"))


def gone_fetch(uri: str, _: str) -> Path:
    raise OSError(f"{uri}: the blob store is down")


def gone_routing(_: str) -> Routing:
    raise ConnectionError("the control database is down")


def run_server(config: ServerConfig, fetch: Any, read_routing: Any, report: Any) -> None:
    from gauntlet.serving.main import serve

    serve(config, fetch, read_routing, report)


def run_impatient_server(config: ServerConfig, fetch: Any, read_routing: Any, report: Any) -> None:
    """A server that waits for a hanging worker less long than it would in production."""
    from gauntlet.serving import workers

    workers.LOOK_S, workers.HUNG_S = 0.2, 0.7
    run_server(config, fetch, read_routing, report)
