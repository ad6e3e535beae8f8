"""The registry: one run per key, one version per content, whatever is repeated or killed half-way."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.registry.conftest import release_of

from gauntlet.adapters.memory.registry import MemoryRegistry
from gauntlet.core.errors import InfrastructureError
from gauntlet.core.records.data import DatasetRef

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow 3.17 itself uses what SQLAlchemy 2.1 deprecates


def dataset() -> DatasetRef:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    return DatasetRef(
        uri="file:///blobs/snapshots/m/abc.parquet",
        sha256="a" * 64,
        rows=10,
        columns=("x",),
        size_bytes=100,
        first_event=moment,
        last_event=moment,
        as_of=moment,
        window_start=None,
        window_end=moment,
        query="SELECT x",
    )


def test_one_run_per_key(registry: Any) -> None:
    first = registry.open_run("m", "m/night-1", {"gauntlet.reason": "it's due"})
    assert registry.open_run("m", "m/night-1", {}) == first
    assert registry.open_run("m", "m/night-2", {}) != first
    assert registry.open_run("other", "m/night-1", {}) != first


@pytest.mark.parametrize("key", ["m/manual__2026-03-01T02:00:00+00:00", "m/it's", 'm/"quoted"'])
def test_any_key_is_found_again(registry: Any, key: str) -> None:
    assert registry.open_run("m", key, {}) == registry.open_run("m", key, {})


def test_logging_again_changes_nothing(registry: Any, folder: Path) -> None:
    run = registry.open_run("m", "m/1", {})
    for _ in range(2):
        registry.log(run, params={"a": 1}, metrics={"x.y": 0.5}, tags={"t": "v"}, artifacts={"release": folder})
        registry.log_dataset(run, dataset(), "training")
        registry.finish_run(run, failed=False)


def test_a_parameter_never_changes(registry: Any) -> None:
    run = registry.open_run("m", "m/1", {})
    registry.log(run, params={"a": 1})
    with pytest.raises(InfrastructureError):
        registry.log(run, params={"a": 2})


def test_one_version_per_content(registry: Any, folder: Path) -> None:
    run = registry.open_run("m", "m/1", {})
    first = registry.register("m", run, release_of("aaaa"), folder, {"gauntlet.dataset": "d"})
    assert registry.register("m", run, release_of("aaaa"), folder, {"gauntlet.dataset": "d"}) == first
    second = registry.register("m", run, release_of("bbbb"), folder, {})
    assert (first.version, second.version) == (1, 2)
    assert list(registry.versions("m")) == [first, second]
    assert registry.versions("nobody") in ([], ())


def test_aliases(registry: Any, folder: Path) -> None:
    run = registry.open_run("m", "m/1", {})
    for digest in ("aaaa", "bbbb"):
        registry.register("m", run, release_of(digest), folder, {})
    assert registry.aliases("m") == registry.aliases("nobody") == {}
    registry.set_alias("m", "champion", 1)
    registry.set_alias("m", "challenger", 2)
    registry.set_alias("m", "champion", 2)
    assert registry.aliases("m") == {"champion": 2, "challenger": 2}
    registry.delete_alias("m", "challenger")
    registry.delete_alias("m", "challenger")
    registry.delete_alias("nobody", "champion")
    assert registry.aliases("m") == {"champion": 2}
    with pytest.raises(InfrastructureError):
        registry.set_alias("m", "champion", 9)


def test_the_twin_shows_what_was_logged(folder: Path) -> None:
    twin = MemoryRegistry()
    run = twin.open_run("m", "m/1", {"a": "b"})
    twin.log(run, artifacts={"release": folder, "one": folder / "model.txt"})
    twin.register("m", run, release_of("aaaa"), folder, {"k": "v"})
    twin.tag_version("m", 1, {"gauntlet.gates": "passed"})
    assert twin.runs[run].artifacts == {"release": ["manifest.json", "model.txt", "sidecar.json"], "one": ["model.txt"]}
    assert twin.version_tags["m", 1] == {"k": "v", "gauntlet.gates": "passed"}
