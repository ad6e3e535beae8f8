"""Other servers' clients work unchanged: MLflow's own scoring client, Open Inference Protocol, any OpenAPI client."""

from __future__ import annotations

import csv
import io
import json
import shutil
import struct
import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.control import MODEL
from tests.serving.servers import (
    ENTITY,
    RunningServer,
    Trained,
    routing,
    running,
    served,
    train,
    write_release,
)

from gauntlet.core.records.model import Calibration, Task


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stable: Any, canary: Any) -> Iterator[RunningServer]:
    """One worker, version two at weight 0."""
    with running(tmp_path_factory.mktemp("protocols"), ready=False) as started:
        assert started.apply(routing(1, stable, canary, 0)).status_code == 200
        yield started


def invoke(server: RunningServer, body: Any, content_type: str = "application/json") -> Any:
    content = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return server.client.post("/invocations", content=content, headers={"content-type": content_type})


# ---- MLflow ----------------------------------------------------------------------------------------


def formats(trained: Trained, rows: int) -> dict[str, Any]:
    records = trained.rows[:rows]
    names = [feature.name for feature in trained.features]
    data = [[row[name] for name in names] for row in records]
    return {
        "dataframe_split": {"columns": names, "data": data, "index": list(range(rows))},
        "dataframe_records": records,
        "instances": records,
        "inputs": {name: [row[name] for row in records] for name in names},
    }


@pytest.mark.parametrize("form", ["dataframe_split", "dataframe_records", "instances", "inputs"])
def test_mlflow_formats(server: RunningServer, trained: Trained, form: str) -> None:
    answer = invoke(server, {form: formats(trained, 7)[form]})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"predictions": trained.scores(trained.matrix[:7])}


def test_mlflow_formats_without_names_go_by_signature_order(server: RunningServer, trained: Trained) -> None:
    data = formats(trained, 3)["dataframe_split"]["data"]
    expected = {"predictions": trained.scores(trained.matrix[:3])}
    assert invoke(server, {"inputs": data}).json() == expected
    assert invoke(server, {"dataframe_split": {"data": data}}).json() == expected


def test_mlflow_csv(server: RunningServer, trained: Trained) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [feature.name for feature in trained.features])
    writer.writeheader()
    writer.writerows(trained.rows[:5])
    answer = invoke(server, text.getvalue(), "text/csv; charset=utf-8")
    assert answer.json() == {"predictions": trained.scores(trained.matrix[:5])}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ({"nothing": 1}, "application/json", 400),
        ([], "application/json", 400),
        ({"inputs": 1}, "application/json", 400),
        ({"dataframe_split": {"columns": ["x0"], "data": [[1, 2]]}}, "application/json", 400),
        ({"dataframe_records": [{"x0": "many"}]}, "application/json", 400),
        ({"dataframe_records": [], "inputs": []}, "application/json", 400),
        ("x0\n1,2\n", "text/csv", 400),
        ("x", "application/parquet", 415),
    ],
)
def test_mlflow_errors_are_mlflows(server: RunningServer, body: Any, kind: str, status: int) -> None:
    answer = invoke(server, body, kind)
    assert answer.status_code == status
    assert set(answer.json()) == {"error_code", "message"}


def test_mlflow_health(server: RunningServer) -> None:
    assert server.client.get("/ping").text == "\n"
    assert server.client.get("/version").status_code == 200


def test_mlflows_own_client(server: RunningServer, trained: Trained) -> None:
    # In a process of its own: importing MLflow in this one would slow every other test down.
    script = """
import json, sys
import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
client = ScoringServerClient("127.0.0.1", int(sys.argv[1]))
client.wait_server_ready(timeout=5)
frame = pd.DataFrame(json.loads(sys.stdin.read()))
print(json.dumps(list(client.invoke(frame).get_predictions()[0])))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(server.port)],
        input=json.dumps(trained.rows[:6]),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == trained.scores(trained.matrix[:6])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_example_of_mlflows_documentation(server: RunningServer, trained: Trained) -> None:
    body = json.dumps({"dataframe_split": formats(trained, 2)["dataframe_split"]})
    command = ["curl", "-sS", f"http://127.0.0.1:{server.port}/invocations"]
    done = subprocess.run(
        [*command, "-H", "Content-Type: application/json", "-d", body], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"predictions": trained.scores(trained.matrix[:2])}


# ---- Open Inference Protocol -----------------------------------------------------------------------


def tensors(trained: Trained, rows: int) -> list[dict[str, Any]]:
    kinds = {"numeric": "FP64", "boolean": "BOOL", "categorical": "BYTES"}
    return [
        {
            "name": feature.name,
            "shape": [rows],
            "datatype": kinds[feature.kind],
            "data": [row[feature.name] for row in trained.rows[:rows]],
        }
        for feature in trained.features
    ]


def infer(server: RunningServer, body: dict[str, Any], path: str = "infer") -> Any:
    return server.client.post(f"/v2/models/{MODEL}/{path}", json=body)


def test_health_and_metadata(server: RunningServer, trained: Trained) -> None:
    assert server.client.get("/v2").json()["name"] == "gauntlet"
    assert server.client.get("/v2/health/live").json() == {"live": True}
    assert server.client.get("/v2/health/ready").status_code == 200
    assert server.client.get(f"/v2/models/{MODEL}/ready").json() == {"name": MODEL, "ready": True}
    told = server.client.get(f"/v2/models/{MODEL}").json()
    assert [one["name"] for one in told["inputs"]] == [feature.name for feature in trained.features]
    assert [one["name"] for one in told["outputs"]] == ["score", "decision"]
    assert told["versions"] == ["1", "2"]
    assert server.client.get(f"/v2/models/{MODEL}/versions/1/ready").status_code == 200
    assert server.client.get(f"/v2/models/{MODEL}/versions/9/ready").status_code == 400


def test_infer_by_named_tensors(server: RunningServer, trained: Trained) -> None:
    answer = infer(server, {"id": "mine", "inputs": tensors(trained, 5)}).json()
    assert answer["id"] == "mine"
    assert (answer["model_name"], answer["model_version"]) == (MODEL, "1")
    scores = trained.scores(trained.matrix[:5])
    assert answer["outputs"][0] == {"name": "score", "datatype": "FP64", "shape": [5], "data": scores}
    assert answer["outputs"][1]["data"] == [int(score >= 0.5) for score in scores]


def test_infer_with_one_tensor_of_all_features(server: RunningServer, trained: Trained) -> None:
    rows = [[row[feature.name] for feature in trained.features] for row in trained.rows[:4]]
    tensor = {"name": "input-0", "shape": [4, len(trained.features)], "datatype": "FP64", "data": rows}
    answer = infer(server, {"inputs": [tensor], "outputs": [{"name": "score"}]}).json()
    assert [one["data"] for one in answer["outputs"]] == [trained.scores(trained.matrix[:4])]


def test_a_named_version_answers_outside_the_split(
    server: RunningServer, trained: Trained, challenger: Trained
) -> None:
    answer = infer(server, {"inputs": tensors(trained, 5)}, "versions/2/infer").json()
    assert answer["outputs"][0]["data"] == challenger.scores(trained.matrix[:5])
    assert answer["model_version"] == "2"
    assert infer(server, {"inputs": tensors(trained, 1)}, "versions/9/infer").status_code == 400


def test_infer_in_binary_both_ways(server: RunningServer, trained: Trained) -> None:
    parts, described = [], []
    for tensor in tensors(trained, 3):
        if tensor["datatype"] == "BYTES":
            texts = [(value or "").encode() for value in tensor["data"]]
            content = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        elif tensor["datatype"] == "BOOL":
            content = bytes(map(int, tensor["data"]))
        else:
            content = array("d", [float("nan") if value is None else value for value in tensor["data"]]).tobytes()
        parts.append(content)
        described.append(
            {k: v for k, v in tensor.items() if k != "data"} | {"parameters": {"binary_data_size": len(content)}}
        )
    head = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
    answer = server.client.post(
        f"/v2/models/{MODEL}/infer",
        content=head + b"".join(parts),
        headers={"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"},
    )
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["inference-header-content-length"])
    told = json.loads(answer.content[:length])
    size = told["outputs"][0]["parameters"]["binary_data_size"]
    scores = array("d", answer.content[length : length + size]).tolist()
    assert scores == trained.scores(trained.matrix[:3])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        {"inputs": [1]},
        {"inputs": [{"name": "x0"}]},
        {"inputs": [{"name": "x0", "shape": [2], "datatype": "FP64", "data": [1]}]},
        {"inputs": [{"name": "x0", "shape": [1], "datatype": "FP7", "data": [1]}]},
        {"inputs": [{"name": "x0", "shape": [-1], "datatype": "FP64", "data": [1]}]},
        {"inputs": [{"name": "x0", "shape": [1, 2, 3], "datatype": "FP64", "data": [1, 2, 3, 4, 5, 6]}]},
        {"inputs": [{"name": "all", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]},
        {"inputs": [{"name": "x0", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}]},
        {"inputs": [{"name": "x0", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": -8}}]},
        {"inputs": [{"name": "x0", "shape": [1], "datatype": "BOOL", "data": [[]]}]},
    ],
)
def test_malformed_inference_is_the_clients_fault(server: RunningServer, body: dict[str, Any]) -> None:
    answer = infer(server, body)
    assert answer.status_code in {400, 422}
    assert answer.json()["error"]


# ---- OpenAPI ---------------------------------------------------------------------------------------


def test_the_openapi_document_describes_the_row(server: RunningServer, trained: Trained) -> None:
    document = server.client.get("/openapi.json").json()
    row = document["components"]["schemas"][f"{MODEL}_row"]
    assert list(row["properties"]) == [*(feature.name for feature in trained.features), ENTITY]
    assert row["properties"]["x1"]["type"] == ["number", "null"]
    assert row["properties"]["x0"]["type"] == "number"
    assert f"/v1/models/{MODEL}/predict" in document["paths"]


def test_no_generated_request_is_answered_with_a_server_error(server: RunningServer, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json"]
    if (script := Path(sys.executable).with_name("schemathesis")).exists():
        command[:3] = [str(script)]
    options = [
        "--checks",
        "not_a_server_error",
        "--max-examples",
        "12",
        "--seed",
        "1",
        "--phases",
        "fuzzing",
        "--no-color",
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


# ---- tasks -----------------------------------------------------------------------------------------


def test_multiclass_answers_with_class_names_and_all_scores(tmp_path: Path) -> None:
    trained = train(5, task=Task.MULTICLASS, trees=4)
    release = write_release(tmp_path / "release", trained, "v-multi")
    with running(tmp_path, ready=False) as server:
        assert server.apply(routing(1, served(release, 4))).status_code == 200
        expected = trained.scores(trained.matrix[:20])
        for row, scores in zip(trained.rows[:20], expected, strict=True):
            answer = server.predict(row).json()
            assert answer["scores"] == scores
            assert answer["score"] == max(scores)
            assert answer["decision"] == ("low", "mid", "top")[scores.index(max(scores))]
        assert invoke(server, {"dataframe_records": trained.rows[:20]}).json() == {"predictions": expected}
        output = infer(server, {"inputs": tensors(trained, 20)}).json()["outputs"]
        assert output[0]["shape"] == [20, 3]
        assert output[0]["data"] == [score for scores in expected for score in scores]
        assert output[1]["datatype"] == "BYTES"


def test_calibrated_scores_are_those_of_numpy_interp(tmp_path: Path) -> None:
    calibration = Calibration(method="isotonic", x=(0.1, 0.3, 0.55, 0.8), y=(0.02, 0.2, 0.21, 0.93))
    trained = train(6, calibration=calibration)
    release = write_release(tmp_path / "release", trained, "v-calibrated")
    with running(tmp_path, ready=False) as server:
        assert server.apply(routing(1, served(release, 4))).status_code == 200
        got = [one["score"] for one in server.predict_rows(trained.rows[:300]).json()["predictions"]]
        assert got == pytest.approx(trained.scores(trained.matrix[:300]), rel=1e-15, abs=0)


def test_regression_has_scores_without_decision(tmp_path: Path) -> None:
    trained = train(7, task=Task.REGRESSION)
    release = write_release(tmp_path / "release", trained, "v-regression")
    with running(tmp_path, ready=False) as server:
        assert server.apply(routing(1, served(release, 4))).status_code == 200
        answers = server.predict_rows(trained.rows[:50]).json()["predictions"]
        assert [one["score"] for one in answers] == trained.scores(trained.matrix[:50])
        assert {one["decision"] for one in answers} == {None}
