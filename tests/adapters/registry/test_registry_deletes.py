"""What goes from the registry, what an alias keeps, and what is found half made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.registry.conftest import release_of

from gauntlet.adapters.registry_mlflow import MLflowRegistry
from gauntlet.core.errors import Conflict, InfrastructureError

LATER = timedelta(minutes=1)


def soon() -> datetime:
    return datetime.now(UTC) + LATER


def registered(registry: Any, folder: Path, name: str) -> Any:
    run_id = registry.open_run("m", f"m/{name}", {})
    registry.log(run_id, artifacts={"release": folder})
    registry.finish_run(run_id, failed=False)
    return registry.register("m", run_id, release_of(name), folder, {})


@pytest.mark.filterwarnings("default")
def test_a_deleted_version_is_gone_and_its_number_is_not_used_again(registry: Any, folder: Path) -> None:
    one, two = registered(registry, folder, "a"), registered(registry, folder, "b")
    registry.set_alias("m", "champion", two.version)
    registry.delete_version("m", one.version)
    registry.delete_version("m", one.version)
    assert [version.version for version in registry.versions("m")] == [two.version]
    assert registry.register("m", one.mlflow_run_id, release_of("a"), folder, {}).version == 3


@pytest.mark.filterwarnings("default")
def test_what_an_alias_points_at_is_not_deleted_and_the_alias_stays(registry: Any, folder: Path) -> None:
    one = registered(registry, folder, "a")
    registry.set_alias("m", "champion", one.version)
    with pytest.raises(Conflict, match="an alias points at version 1"):
        registry.delete_version("m", one.version)
    assert registry.aliases("m") == {"champion": 1}
    assert [version.version for version in registry.versions("m")] == [1]


@pytest.mark.filterwarnings("default")
def test_a_run_goes_with_its_files(store: str, folder: Path) -> None:
    registry = MLflowRegistry(store)
    registered(registry, folder, "a")
    client = registry._client
    run = client.search_runs([client.get_experiment_by_name("m").experiment_id])[0]
    files = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (files / "release" / "model.txt").exists()
    registry.delete_run("m", "m/a")
    registry.delete_run("m", "m/a")
    registry.delete_run("nobody", "nobody/a")
    assert not (files / "release").exists()
    assert client.search_runs([run.info.experiment_id]) == []
    assert client.search_logged_models([run.info.experiment_id]) == []


def test_a_run_nobody_closed_is_found_once_it_is_old(registry: Any) -> None:
    run_id = registry.open_run("m", "m/night", {})
    done = registry.open_run("m", "m/done", {})
    registry.finish_run(done, failed=False)
    found = registry.unfinished("m", soon())
    assert [(item.kind, item.subject, item.run_key) for item in found] == [("run", run_id, "m/night")]
    assert list(registry.unfinished("nobody", soon())) == []


@pytest.mark.filterwarnings("default")
def test_half_a_version_is_found_and_discarded(store: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = MLflowRegistry(store)
    run_id = registry.open_run("m", "m/a", {})
    registry.finish_run(run_id, failed=False)

    def broken(*_: Any) -> None:
        raise InfrastructureError("killed before the last tag")

    monkeypatch.setattr(registry, "_link", broken)
    with pytest.raises(InfrastructureError):
        registry.register("m", run_id, release_of("a"), folder, {})
    assert registry.versions("m") == []
    half = registry.unfinished("m", soon())
    assert [(item.kind, item.subject, item.release) for item in half] == [("version", "1", release_of("a").digest)]
    assert registry.unfinished("m", datetime.now(UTC) - LATER) == []
    registry.discard("m", half[0])
    assert registry.unfinished("m", soon()) == []


@pytest.mark.filterwarnings("default")
def test_a_logged_model_without_a_version_is_found_and_discarded(
    store: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = MLflowRegistry(store)
    run_id = registry.open_run("m", "m/a", {})
    registry.finish_run(run_id, failed=False)
    registry._registered_model("m")
    registry._logged_model(run_id, release_of("a"), folder)
    [alone] = registry.unfinished("m", soon())
    assert (alone.kind, alone.release) == ("model", release_of("a").digest)
    registry.discard("m", alone)
    registry.discard("m", alone)
    assert registry.unfinished("m", soon()) == []
