"""A release folder as an MLflow model.

With MLflow's ``lightgbm`` flavour and the whole release beside it, but deliberately without the ``python_function``
flavour: that one would score without our category codes and calibration, and its loader runs whatever code the
metadata file names.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.records.model import FeatureKind, ModelSidecar
from gauntlet.core.release import MODEL_TEXT, SIDECAR

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

MODEL_NAME = "release"


def write_mlflow_model(folder: Path, to: Path, *, run_id: str, model_id: str | None) -> None:
    """A release folder as an MLflow model directory: its files, ``MLmodel``, ``requirements.txt``."""
    import shutil
    from importlib.metadata import version

    from mlflow.models.model import Model

    shutil.copytree(folder, to, dirs_exist_ok=True)
    sidecar = ModelSidecar.model_validate_json((folder / SIDECAR).read_bytes())
    requirements = [f"lightgbm=={version('lightgbm')}", f"numpy=={version('numpy')}"]
    described = Model(
        artifact_path=MODEL_NAME,
        run_id=run_id,
        signature=signature_of(sidecar),
        metadata={"version_id": sidecar.version_id, "tree_digest": sidecar.tree_digest},
        model_id=model_id,
    )
    described.add_flavor(
        "lightgbm",
        lgb_version=version("lightgbm"),
        data=MODEL_TEXT,
        model_class="lightgbm.basic.Booster",
        code=None,
    )
    described.model_size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    described.save(str(to / "MLmodel"))
    (to / "requirements.txt").write_text("\n".join(requirements) + "\n")


def signature_of(sidecar: ModelSidecar) -> ModelSignature:
    """The raw inputs as training saw them, required unless training saw nulls, and the final score."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    types = {
        FeatureKind.NUMERIC: DataType.double,
        FeatureKind.BOOLEAN: DataType.boolean,
        FeatureKind.CATEGORICAL: DataType.string,
    }
    inputs: list[Any] = [ColSpec(types[f.kind], f.name, required=not f.nullable) for f in sidecar.features]
    names = [f"score_{name}" for name in sidecar.classes] if sidecar.classes else ["score"]
    outputs: list[Any] = [ColSpec(DataType.double, name) for name in names]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))
