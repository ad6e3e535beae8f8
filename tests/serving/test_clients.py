"""A client of the Open Inference Protocol from PyPI, MLflow's own curl examples, and many users at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.errors import BadRequestError
from open_inference.openapi.types import InferenceRequest
from tests.serving.control import MODEL
from tests.serving.servers import ENTITY, RunningServer, Trained, routing, running

from gauntlet.adapters.journal import INCOMPLETE, JournalFiles
from gauntlet.core.records.rollout import PPM

LOAD = Path(__file__).parents[2] / "benchmarks" / "serving_peers" / "load.py"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stable: Any, canary: Any) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("clients"), ready=False) as started:
        assert started.apply(routing(1, stable, canary, 0)).status_code == 200
        yield started


@pytest.fixture
def client(server: RunningServer) -> OpenInferenceClient:
    return OpenInferenceClient(base_url=f"http://127.0.0.1:{server.port}", httpx_client=server.client)


# ---- Open Inference Protocol -----------------------------------------------------------------------


def request(trained: Trained, rows: int) -> InferenceRequest:
    kinds = {"numeric": "FP64", "boolean": "BOOL", "categorical": "BYTES"}
    return InferenceRequest(
        id="mine",
        inputs=[
            {
                "name": feature.name,
                "shape": [rows],
                "datatype": kinds[feature.kind],
                "data": [row[feature.name] for row in trained.rows[:rows]],
            }
            for feature in trained.features
        ],
    )


def complete(trained: Trained) -> Trained:
    """Rows without nulls: the client's tensors have none."""
    good = [i for i, row in enumerate(trained.rows) if None not in row.values()]
    return Trained(
        trained.booster, trained.features, [trained.rows[i] for i in good], trained.matrix[good], trained.task
    )


def test_the_client_finds_the_server_and_the_model_ready(client: OpenInferenceClient) -> None:
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness(MODEL)
    client.check_model_version_readiness(MODEL, "2")
    assert client.read_server_metadata().name == "gauntlet"


def test_the_client_reads_the_models_metadata(client: OpenInferenceClient, trained: Trained) -> None:
    told = client.read_model_metadata(MODEL)
    assert [one.name for one in told.inputs] == [feature.name for feature in trained.features]
    assert [(one.name, one.shape) for one in told.outputs] == [("score", [-1]), ("decision", [-1])]
    assert client.read_model_version_metadata(MODEL, "2").versions == ["1", "2"]


def test_the_client_gets_the_models_scores(client: OpenInferenceClient, trained: Trained, challenger: Trained) -> None:
    whole = complete(trained)
    answer = client.model_infer(MODEL, request=request(whole, 5))
    assert (answer.id, answer.model_version) == ("mine", "1")
    assert plain(answer.outputs[0].data) == trained.scores(whole.matrix[:5])
    assert answer.outputs[1].datatype == "INT64"
    answer = client.model_version_infer(MODEL, "2", request=request(whole, 5))
    assert plain(answer.outputs[0].data) == challenger.scores(whole.matrix[:5])


def plain(data: Any) -> list[float]:
    return list(getattr(data, "__root__", data))


def test_the_client_understands_a_refusal(client: OpenInferenceClient, trained: Trained) -> None:
    with pytest.raises((BadRequestError, ApiError)) as refused:
        client.model_infer(MODEL, request=InferenceRequest(inputs=request(trained, 1).inputs[1:]))
    assert refused.value.status_code in {400, 422}
    assert "x0" in str(refused.value.body)


# ---- curl, as MLflow's documentation has it --------------------------------------------------------


CURL = {
    "dataframe_split": lambda names, rows: {"dataframe_split": {"columns": names, "data": rows}},
    "dataframe_records": lambda names, rows: {
        "dataframe_records": [dict(zip(names, row, strict=True)) for row in rows]
    },
    "instances": lambda names, rows: {"instances": [dict(zip(names, row, strict=True)) for row in rows]},
    "inputs": lambda names, rows: {"inputs": dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))},
    "params beside": lambda names, rows: {"dataframe_split": {"columns": names, "data": rows}, "params": {}},
}
"""Bodies of "Local serving" in MLflow's documentation, with our columns."""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("form", CURL)
def test_mlflows_curl_examples(server: RunningServer, trained: Trained, form: str) -> None:
    names = [feature.name for feature in trained.features]
    rows = [[row[name] for name in names] for row in trained.rows[:3]]
    body = json.dumps(CURL[form](names, rows))
    assert curl(server, "Content-Type:application/json", body) == {"predictions": trained.scores(trained.matrix[:3])}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_mlflows_curl_example_of_csv(server: RunningServer, trained: Trained) -> None:
    names = [feature.name for feature in trained.features]
    lines = [",".join("" if row[name] is None else str(row[name]) for name in names) for row in trained.rows[:3]]
    body = "\n".join([",".join(names), *lines])
    assert curl(server, "Content-Type: text/csv", body) == {"predictions": trained.scores(trained.matrix[:3])}


def curl(server: RunningServer, header: str, body: str) -> Any:
    command = ["curl", "-sS", f"http://127.0.0.1:{server.port}/invocations", "-H", header, "--data-binary", "@-"]
    return json.loads(subprocess.run(command, input=body, capture_output=True, text=True, check=True).stdout)


# ---- many users ------------------------------------------------------------------------------------


def test_many_connections_at_full_speed_get_an_answer_each_and_a_row_in_the_journal_each(
    tmp_path: Path, stable: Any, canary: Any, trained: Trained
) -> None:
    from datetime import UTC, datetime

    with running(tmp_path, ready=False, workers=2) as server:
        server.apply(routing(1, stable, canary, PPM // 2))
        since = datetime.now(UTC)
        bodies = [json.dumps({"row": {**row, ENTITY: f"c{i}"}}) for i, row in enumerate(trained.rows[:100])]
        plan = {
            "host": "127.0.0.1",
            "port": server.port,
            "path": f"/v1/models/{MODEL}/predict",
            "headers": {"content-type": "application/json"},
            "bodies": bodies,
            "connections": 64,
            "seconds": 1.5,
            "rate": 0,
        }
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        command = [sys.executable, str(LOAD), str(tmp_path / "plan.json")]
        told = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
        assert told["failures"] == 0
        assert set(told["statuses"]) == {"200"}
        table = JournalFiles(server.config.journal).read(MODEL, since, datetime.now(UTC))
    # Requests under way when the time was up have been answered too, to nobody.
    assert told["answers"] <= table.num_rows <= told["answers"] + 64
    assert len(set(table.column("request_id").to_pylist())) == table.num_rows
    assert table.schema.metadata[INCOMPLETE] == b""
    assert set(table.column("arm").to_pylist()) == {"stable", "canary"}
