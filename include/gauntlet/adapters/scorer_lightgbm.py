"""Scoring with a release, loaded only after every check, in the same order everywhere.

Digest of the manifest (by whoever fetched the folder), digests of the files, structural check of the
model text, load and golden rows in a process that may die of it, then load here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gauntlet.adapters.child import run_child
from gauntlet.adapters.snapshot_rows import BATCH_ROWS, categorical_names, open_parquet
from gauntlet.core.calibration import calibrate, compile_calibration
from gauntlet.core.digest import sha256_bytes
from gauntlet.core.encoding import compile_row, encode_table
from gauntlet.core.errors import GauntletError, IntegrityError
from gauntlet.core.golden import compare_golden
from gauntlet.core.model_text import feature_names, validate_model_text
from gauntlet.core.ports import ProbeMeasurements
from gauntlet.core.records.evaluation import SmokeCheck
from gauntlet.core.records.model import GoldenSet, ModelSidecar
from gauntlet.core.release import GOLDEN, MANIFEST, MODEL_TEXT, NEEDED, SIDECAR
from gauntlet.native.lightgbm import Booster, RowScorer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LOAD_TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 120.0
CHILD = (sys.executable, "-m", "gauntlet.adapters.scorer_child")


# ---- reading a release -----------------------------------------------------------------------------


def read_release(folder: Path) -> tuple[bytes, ModelSidecar, GoldenSet]:
    """The content of a release folder, verified up to the structure of the model text.

    Raises:
        IntegrityError: names the file that is missing, differs or is damaged.
    """
    listed = _listed(folder)
    content = {name: _verified(folder / name, digest) for name, digest in listed.items()}
    if missing := [name for name in NEEDED if name not in content]:
        raise IntegrityError(f"{folder}/{MANIFEST} does not list {', '.join(missing)}")
    try:
        sidecar = ModelSidecar.model_validate_json(content[SIDECAR])
        golden = GoldenSet.model_validate_json(content[GOLDEN])
    except ValueError as error:
        raise IntegrityError(f"{folder}: sidecar.json or golden.json is no such record: {error}") from None
    if sha256_bytes(content[MODEL_TEXT]) != sidecar.model_sha256:
        raise IntegrityError(f"{folder}/sidecar.json: model_sha256 is not that of model.txt")
    validate_model_text(content[MODEL_TEXT], sidecar)
    return content[MODEL_TEXT], sidecar, golden


def _listed(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    try:
        files = json.loads(path.read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path}: cannot be read as a manifest ({error}); the release is not complete") from None
    return {str(name): str(digest) for name, digest in files.items()}


def _verified(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{path}: missing or unreadable: {error.strerror}") from None
    if sha256_bytes(content) != digest:
        raise IntegrityError(f"{path}: its SHA-256 is not the one in the manifest; the file has changed")
    return content


# ---- scoring ---------------------------------------------------------------------------------------


class LightGBMScorer:
    """Implements :class:`~gauntlet.core.ports.Scorer`. Not loaded until :meth:`load`; belongs to one thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: _Loaded | None = None

    def load(self, *, sacrifice: bool = True) -> LightGBMScorer:
        """Check the release and load it; ``sacrifice=False`` only in a process that is itself expendable.

        Raises:
            IntegrityError: any check failed; nothing is loaded.
        """
        text, sidecar, golden = read_release(self.folder)
        if sacrifice:
            load_in_child(self.folder)
        self._loaded = _Loaded(text, sidecar, golden)
        return self

    @property
    def sidecar(self) -> ModelSidecar:
        """What travels with the trees."""
        return self._model.sidecar

    @property
    def golden(self) -> GoldenSet:
        """The release's golden rows."""
        return self._model.golden

    @property
    def _model(self) -> _Loaded:
        if self._loaded is None:
            raise GauntletError(f"{self.folder}: the model is not loaded; call load() first")
        return self._loaded

    def score_table(self, table: pa.Table | Path, *, raw: bool = False) -> Floats:
        """Final scores of a table or Parquet file, shape (rows,); multiclass (rows, classes). Memory: one batch.

        ``raw``: those of the trees, before calibration.
        """
        import numpy as np

        model = self._model
        score = model.raw if raw else model.score
        parts = [score(encode_table(model.sidecar.features, batch)) for batch in self._batches(table)]
        return np.concatenate(parts) if parts else score(np.empty((0, len(model.sidecar.features))))

    def _batches(self, table: pa.Table | Path) -> Iterator[pa.RecordBatch]:
        names = [feature.name for feature in self.sidecar.features]
        if isinstance(table, Path):
            file = open_parquet(table, categorical_names(self.sidecar.features))
            _check_columns(names, file.schema_arrow.names)
            yield from file.iter_batches(BATCH_ROWS, columns=names)
        else:
            _check_columns(names, table.schema.names)
            yield from table.select(names).to_batches(max_chunksize=BATCH_ROWS)

    def score_rows(self, rows: Sequence[Mapping[str, Any]], *, raw: bool = False) -> Floats:
        """Final scores of raw rows, each scored alone; shape (rows,), multiclass (rows, classes).

        ``raw``: those of the trees, before calibration.
        """
        import numpy as np

        model = self._model
        score = model.raw_row if raw else model.score_row
        scores = [score(row) for row in rows]
        return np.array(scores).reshape((len(rows),) if model.classes == 1 else (len(rows), model.classes))

    def close(self) -> None:
        """Free the model; scoring afterwards is an error."""
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None


def _check_columns(wanted: Sequence[str], present: Sequence[str]) -> None:
    if missing := [name for name in wanted if name not in present]:
        raise GauntletError(f"the table lacks features of the model: {', '.join(missing[:10])}")


class _Loaded:
    """A model in memory with its prepared single-row path."""

    def __init__(self, text: bytes, sidecar: ModelSidecar, golden: GoldenSet) -> None:
        self.sidecar, self.golden = sidecar, golden
        if (names := feature_names(text)) != tuple(feature.name for feature in sidecar.features):
            raise IntegrityError(f"the model's features {names[:3]}... are not the sidecar's, in its order")
        self._booster = Booster(text)
        self._rows = RowScorer(self._booster)
        self._encode = compile_row(sidecar.features)
        self._calibrate = compile_calibration(sidecar.calibration) if sidecar.calibration else None
        self.classes = self._booster.classes

    def raw(self, matrix: Floats) -> Floats:
        return self._booster.predict(matrix)

    def score(self, matrix: Floats) -> Floats:
        raw = self.raw(matrix)
        return raw if self.sidecar.calibration is None else calibrate(self.sidecar.calibration, raw)

    def raw_row(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return self._rows.scores(self._encode(row))

    def score_row(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        scores = self.raw_row(row)
        return scores if self._calibrate is None else tuple(map(self._calibrate, scores))

    def close(self) -> None:
        self._rows.close()
        self._booster.close()


# ---- processes that may die of it ------------------------------------------------------------------


def load_in_child(folder: Path) -> None:
    """Load a release and score its golden rows in a process of its own; :class:`IntegrityError` when that fails."""
    with TemporaryDirectory(prefix="gauntlet-load-") as work:
        ending = run_child([*CHILD, "load", str(folder)], Path(work) / "log", timeout_s=LOAD_TIMEOUT_S)
    if ending.code != 0 or ending.limit:
        raise IntegrityError(f"{folder}: loading it in a process of its own: it {ending.sentence}; {ending.log}")


def golden_difference(scorer: LightGBMScorer) -> str | None:
    """What differs when the golden rows are scored by a loaded model, or ``None``."""
    scores = scorer.score_rows(scorer.golden.rows)
    final = scores if scores.ndim == 1 else scores.max(axis=1)
    return compare_golden(scorer.golden, final.tolist())


class LightGBMScorers:
    """Implements :class:`~gauntlet.core.ports.Scorers`."""

    def __init__(self) -> None:
        self._survived: set[str] = set()

    def load(self, folder: Path) -> LightGBMScorer:
        """Load a release; a release that survived the sacrificial process once is not sacrificed to again."""
        manifest = sha256_bytes((folder / MANIFEST).read_bytes()) if (folder / MANIFEST).exists() else ""
        scorer = LightGBMScorer(folder).load(sacrifice=manifest not in self._survived)
        self._survived.add(manifest)
        return scorer

    def probe(self, candidate: Path, champion: Path | None) -> ProbeMeasurements:
        """Load, score and time releases in one process, their rows interleaved."""
        with TemporaryDirectory(prefix="gauntlet-probe-") as name:
            work = Path(name)
            command = [*CHILD, "probe", str(candidate), str(champion or ""), str(work / "result.json")]
            ending = run_child(command, work / "log", timeout_s=PROBE_TIMEOUT_S)
            if ending.code == 0 and (work / "result.json").exists():
                return measurements_from(json.loads((work / "result.json").read_bytes()))
        detail = f"the probing process {ending.sentence}; it wrote last: {ending.log or '(nothing)'}"
        return ProbeMeasurements((SmokeCheck(name="load", passed=False, detail=detail),), None, None, None, None)


def measurements_from(found: Mapping[str, Any]) -> ProbeMeasurements:
    """Measurements from the probing process's JSON."""
    from gauntlet.core.records.evaluation import LatencyProfile

    def latency(key: str) -> LatencyProfile | None:
        return LatencyProfile.model_validate(found[key]) if found[key] else None

    return ProbeMeasurements(
        checks=tuple(SmokeCheck.model_validate(check) for check in found["checks"]),
        candidate_latency=latency("candidate_latency"),
        champion_latency=latency("champion_latency"),
        load_seconds=found["load_seconds"],
        rss_mb=found["rss_mb"],
    )
