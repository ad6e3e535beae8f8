"""What only MLflow can show: its own views of our versions, half-done work, servers that are down or slow."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.registry.conftest import release_of
from tests.adapters.registry.test_registry import dataset
from tests.processes import free_port

from gauntlet.adapters.mlflow_model import signature_of, write_mlflow_model
from gauntlet.adapters.mlflow_rows import COMPLETE
from gauntlet.adapters.registry_mlflow import MLflowRegistry
from gauntlet.core.errors import GauntletError, InfrastructureError
from gauntlet.core.records.model import ModelSidecar

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow 3.17 itself uses what SQLAlchemy 2.1 deprecates


def client(url: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(url, registry_uri=url)


def test_a_version_leads_to_its_run_and_data_in_mlflows_own_terms(store: str, folder: Path) -> None:
    registry = MLflowRegistry(store)
    run = registry.open_run("m", "m/1", {"gauntlet.snapshot": "a" * 64})
    registry.log_dataset(run, dataset(), "training")
    version = registry.register("m", run, release_of("aaaa"), folder, {"gauntlet.dataset": "a" * 64})
    registry.tag_version("m", version.version, {"gauntlet.gates": "passed"})
    mlflow = client(store)
    row = mlflow.get_model_version("m", "1")
    assert row.run_id == run
    assert row.tags["gauntlet.gates"] == "passed"
    assert row.tags[COMPLETE] == "true"
    logged = mlflow.get_logged_model(row.tags["gauntlet.logged_model"])
    assert str(logged.status) == "READY"
    assert logged.tags["mlflow.modelVersions"] == '[{"name": "m", "version": 1}]'
    shown = mlflow.get_run(run)
    assert shown.info.run_name == "1"
    assert [output.model_id for output in shown.outputs.model_outputs] == [logged.model_id]
    (entry,) = shown.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("m", "a" * 36)
    assert "SELECT x" in entry.dataset.source
    names = {Path(item.path).name for item in mlflow.list_logged_model_artifacts(logged.model_id)}
    assert names == {"MLmodel", "requirements.txt", "model.txt", "sidecar.json", "manifest.json"}


def test_the_mlflow_model_has_a_signature_and_nothing_that_runs_code(folder: Path, tmp_path: Path) -> None:
    from mlflow.models import Model

    write_mlflow_model(folder, tmp_path / "model", run_id="r", model_id=None)
    described = Model.load(str(tmp_path / "model"))
    assert set(described.flavors) == {"lightgbm"}
    assert described.signature == signature_of(ModelSidecar.model_validate_json((folder / "sidecar.json").read_bytes()))
    inputs = {column.name: (column.type.name, column.required) for column in described.signature.inputs}
    assert inputs == {"net income": ("double", True), "new": ("boolean", False), "kind": ("string", False)}
    assert not [path for path in (tmp_path / "model").rglob("*") if path.suffix in {".pkl", ".py", ".joblib"}]


class Killed(BaseException):
    """Ends a registration where it is, as SIGKILL does: nothing after it runs."""


@pytest.mark.parametrize(
    "at",
    [
        "create_registered_model",
        "create_logged_model",
        "log_model_artifacts",
        "log_outputs",
        "finalize_logged_model",
        "create_model_version",
        "set_logged_model_tags",
        "set_model_version_tag",
    ],
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_registration_killed_anywhere_is_finished_by_the_next_try(
    store: str, folder: Path, at: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = MLflowRegistry(store)
    run = registry.open_run("m", "m/1", {})
    real = getattr(registry._client, at)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if moment == "after":
            real(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(registry._client, at, dying)
        with pytest.raises(Killed):
            registry.register("m", run, release_of("aaaa"), folder, {"k": "v"})
    done = (at, moment) == ("set_model_version_tag", "after")
    assert len(registry.versions("m")) == int(done), "a version that is not complete is none"
    registered = MLflowRegistry(store).register("m", run, release_of("aaaa"), folder, {"k": "v"})
    assert list(registry.versions("m")) == [registered]
    assert registered.version == 1
    mlflow = client(store)
    assert len(mlflow.search_model_versions("name = 'm'")) == 1
    experiment = mlflow.get_experiment_by_name("m").experiment_id
    (logged,) = mlflow.search_logged_models([experiment])
    assert str(logged.status) == "READY"
    assert mlflow.get_model_version("m", "1").tags["k"] == "v"


def test_files_of_a_bare_database_lie_beside_it(
    store: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    registry = MLflowRegistry(store)
    run = registry.open_run("m", "m/1", {})
    registry.log(run, artifacts={"training": folder})
    registry.register("m", run, release_of("aaaa"), folder, {})
    kept = {path.name for path in (tmp_path / "mlartifacts" / "m").rglob("*")}
    assert {path.name for path in folder.iterdir()} | {"MLmodel", "training"} <= kept
    assert not list(elsewhere.iterdir())


def test_a_deleted_experiment_is_named(store: str) -> None:
    registry = MLflowRegistry(store)
    registry.open_run("m", "m/1", {})
    mlflow = client(store)
    mlflow.delete_experiment(mlflow.get_experiment_by_name("m").experiment_id)
    with pytest.raises(GauntletError, match="restore it"):
        registry.open_run("m", "m/2", {})


def test_a_real_server(server: str, folder: Path) -> None:
    registry = MLflowRegistry(server)
    run = registry.open_run("m", "m/1", {"a": "b"})
    assert MLflowRegistry(server).open_run("m", "m/1", {}) == run
    registry.log(run, params={"p": 1}, metrics={"x": 1.0}, tags={"t": "v"}, artifacts={"release": folder})
    registry.log_dataset(run, dataset(), "training")
    first = registry.register("m", run, release_of("aaaa"), folder, {"k": "v"})
    started = time.monotonic()
    second = registry.register("m", run, release_of("bbbb"), folder, {"k": "v"})
    assert time.monotonic() - started < 5, "under one second on an idle machine, see benchmarks/training.py"
    assert list(registry.versions("m")) == [first, second]
    assert client(server).get_model_version("m", "2").source.startswith("models:/m-")
    registry.set_alias("m", "champion", 2)
    assert registry.aliases("m") == {"champion": 2}
    registry.finish_run(run, failed=False)


def test_a_server_that_is_down_is_told_soon_and_by_its_address() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(
        InfrastructureError, match=rf"{url}: opening .*: \[Errno \d+\] Connection refused \(after .*gauntlet up"
    ):
        MLflowRegistry(url).open_run("m", "m/1", {})
    assert time.monotonic() - started < 10


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        for connection in held:
            connection.close()
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_server_that_never_answers_is_given_up_on(silent_port: int) -> None:
    started = time.monotonic()
    with pytest.raises(InfrastructureError, match=f"127.0.0.1:{silent_port}"):
        MLflowRegistry(f"http://127.0.0.1:{silent_port}", timeout_s=1.0).open_run("m", "m/1", {})
    assert time.monotonic() - started < 10


def test_a_password_in_the_address_is_not_shown() -> None:
    port = free_port()
    with pytest.raises(InfrastructureError) as caught:
        MLflowRegistry(f"http://user:secret@127.0.0.1:{port}").aliases("m")
    assert "secret" not in str(caught.value)
