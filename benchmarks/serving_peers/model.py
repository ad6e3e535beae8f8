"""The model of the serving benchmarks, 100 trees on 30 features, in each server's format; run in its own process.

``python model.py FOLDER`` writes ``model.txt``, ``mlflow/`` and the releases ``one/`` and ``two/``, and prints the
digests of both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightgbm
import numpy as np

from gauntlet.core.digest import canonical_json, sha256_bytes
from gauntlet.core.golden import make_golden
from gauntlet.core.model_text import tree_digest
from gauntlet.core.records.model import Feature, FeatureKind, ModelSidecar, Task

TREES, FEATURES, ROWS = 100, 30, 5000
NAMES = [f"feature_{i}" for i in range(FEATURES)]


def train(seed: int) -> tuple[lightgbm.Booster, np.ndarray]:
    """A booster and its rows."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, FEATURES)).round(6)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + np.sin(3 * x[:, 3]) + rng.normal(size=ROWS) > 0).astype(float)
    params = {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 1, "seed": seed}
    return lightgbm.train(params, lightgbm.Dataset(x, y, feature_name=NAMES), TREES), x


def write_release(folder: Path, version_id: str, booster: lightgbm.Booster, x: np.ndarray) -> str:
    """A release folder; its digest."""
    text = booster.model_to_string().encode()
    sidecar = ModelSidecar(
        model="bench",
        version_id=version_id,
        task=Task.BINARY,
        objective="binary",
        features=tuple(
            Feature(
                name=name,
                kind=FeatureKind.NUMERIC,
                nullable=False,
                minimum=float(x[:, i].min()),
                maximum=float(x[:, i].max()),
            )
            for i, name in enumerate(NAMES)
        ),
        classes=None,
        threshold=0.5,
        calibration=None,
        best_iteration=TREES,
        tree_digest=tree_digest(text),
        model_sha256=sha256_bytes(text),
        trained_through=None,
    )
    rows = [dict(zip(NAMES, row, strict=True)) for row in x[:32].tolist()]
    golden = make_golden(rows, lambda _: [[score] for score in booster.predict(x[:32])])
    files = {
        "model.txt": text,
        "sidecar.json": canonical_json(sidecar.model_dump(mode="json")),
        "golden.json": canonical_json(golden.model_dump(mode="json")),
    }
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = canonical_json({"files": {name: sha256_bytes(content) for name, content in files.items()}})
    (folder / "manifest.json").write_bytes(manifest)
    return sha256_bytes(manifest)


def main() -> None:
    """Train both versions and write everything."""
    folder = Path(sys.argv[1])
    booster, x = train(1)
    booster.save_model(str(folder / "model.txt"))
    digests = {"one": write_release(folder / "one", "v-one", booster, x)}
    digests["two"] = write_release(folder / "two", "v-two", *train(2))
    rows = [dict(zip(NAMES, row, strict=True)) for row in x[:200].tolist()]
    (folder / "rows.json").write_text(json.dumps(rows))
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    frame = pd.DataFrame(x[:100], columns=NAMES)
    signature = infer_signature(frame, booster.predict(frame))
    mlflow.lightgbm.save_model(booster, str(folder / "mlflow"), signature=signature, pip_requirements=["lightgbm"])
    (folder / "digests.json").write_text(json.dumps(digests))


if __name__ == "__main__":
    main()
