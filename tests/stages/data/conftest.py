"""Services with real sources, blobs and contract over a folder, and records in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
import yaml
from tests.adapters.data.applications import AS_OF, applications, loans, write

from gauntlet.adapters.blobs import open_blobs
from gauntlet.adapters.contract_gx import GreatExpectationsContract
from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.adapters.sources import Reading, all_sources
from gauntlet.core.ports import Services
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.spec import ModelSpec

EXAMPLES = Path(__file__).parents[3] / "examples"


@dataclass
class Night:
    """One run of one model over real data adapters."""

    services: Services
    run: RunContext
    spec: ModelSpec
    folder: Path


class StillClock:
    def now(self) -> datetime:
        return AS_OF


def night(folder: Path, document: dict[str, Any], as_of: datetime = AS_OF) -> Night:
    spec = ModelSpec.model_validate(document)
    store = MemoryStore(StillClock())
    services = SimpleNamespace(
        clock=StillClock(),
        specs=SimpleNamespace(get=lambda model: spec),
        records=store.records,
        audit=store.audit,
        blobs=open_blobs(str(folder / "blobs"), folder / "cache"),
        sources=all_sources(Reading(folder / "scratch", memory_mb=256, threads=2)),
        contract=GreatExpectationsContract(memory_mb=256, threads=2),
        scratch=folder / "scratch",
    )
    run = RunContext(
        model=spec.model,
        run="night-1",
        as_of=as_of,
        kind=TriggerKind.MANUAL,
        reason="test",
        requested_by="test",
        force_retrain=False,
        spec_digest=spec.digest,
        opened_at=as_of,
    )
    return Night(cast("Services", services), run, spec, folder)


@pytest.fixture
def loans_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Night]:
    """A night over a table of applications."""

    def make(table: pa.Table | None = None, **changes: Any) -> Night:
        path = write(applications() if table is None else table, tmp_path / "source.parquet")
        monkeypatch.setenv("GAUNTLET_TEST_SOURCE", str(path))
        return night(tmp_path, loans(**changes))

    return make


@pytest.fixture
def example_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example_data: Path
) -> Callable[[str, datetime], Night]:
    """A night over one of the real data sets; ``change`` edits the spec's document."""
    monkeypatch.setenv("GAUNTLET_EXAMPLE_DATA", str(example_data))

    def make(
        name: str, as_of: datetime = datetime(2012, 9, 1, tzinfo=UTC), change: Callable[[Any], None] | None = None
    ) -> Night:
        document = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
        if change is not None:
            change(document)
        return night(tmp_path, document, as_of)

    return make
