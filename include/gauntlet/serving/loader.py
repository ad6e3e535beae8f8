"""From a release folder to a version that can score, refusing anything that is not exactly what was released.

Order matters, because LightGBM may abort the process on a damaged text: digest of the manifest, digests
of the files, structural check of the text; the probe then loads it in a process of its own before any
worker does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from gauntlet.core.digest import sha256_bytes
from gauntlet.core.errors import IntegrityError
from gauntlet.core.golden import compare_golden
from gauntlet.core.records.model import GoldenSet, ModelSidecar
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.release import GOLDEN, MANIFEST, MODEL_TEXT, NEEDED, SIDECAR
from gauntlet.core.specs.serving import InputPolicy
from gauntlet.native.lightgbm import Booster, ScoringError
from gauntlet.serving.inputs import Encoder
from gauntlet.serving.scorer import Predictor

ACCEPT_ALL = InputPolicy(extra="ignore", null="count", nan="count")
"""For golden rows, which training has scored: any value goes, but every feature must be there and of its type."""


@dataclass(frozen=True)
class Release:
    """A verified release folder's content, not yet loaded."""

    served: ServedVersion
    sidecar: ModelSidecar
    golden: GoldenSet
    model_text: bytes


def read_release(folder: Path, served: ServedVersion) -> Release:
    """Read and verify a folder; :class:`IntegrityError` names the file that differs."""
    from gauntlet.core.model_text import validate_model_text

    content = _verified(folder, served.release_digest)
    sidecar = ModelSidecar.model_validate_json(content[SIDECAR])
    golden = GoldenSet.model_validate_json(content[GOLDEN])
    text = content[MODEL_TEXT]
    if sidecar.model_sha256 != sha256_bytes(text):
        raise IntegrityError(f"{folder}/sidecar.json: model_sha256 is not that of model.txt")
    if sidecar.version_id != served.version_id:
        raise IntegrityError(
            f"{folder}/sidecar.json is of version {sidecar.version_id}, the routing says {served.version_id}"
        )
    validate_model_text(text, sidecar)
    return Release(served, sidecar, golden, text)


def _verified(folder: Path, digest: str) -> dict[str, bytes]:
    manifest = _read(folder / MANIFEST)
    if sha256_bytes(manifest) != digest:
        raise IntegrityError(f"{folder}/{MANIFEST} is not the one released: expected SHA-256 {digest}")
    content = {}
    for name, expected in json.loads(manifest)["files"].items():
        content[name] = _read(folder / name)
        if sha256_bytes(content[name]) != expected:
            raise IntegrityError(f"{folder}/{name} is not the one released: expected SHA-256 {expected}")
    if missing := set(NEEDED) - content.keys():
        raise IntegrityError(f"{folder}/{MANIFEST} does not list {', '.join(sorted(missing))}")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror or error}") from error


@dataclass
class LoadedVersion:
    """A version in this process's memory."""

    served: ServedVersion
    sidecar: ModelSidecar
    golden: GoldenSet
    booster: Booster
    _predictors: list[Predictor] = field(default_factory=list)

    @property
    def version_id(self) -> str:
        """The release's own name for its version."""
        return self.served.version_id

    def encoder(self, policy: InputPolicy) -> Encoder:
        """Rows to vectors, under a policy."""
        return Encoder(self.sidecar.features, policy)

    def predictor(self) -> Predictor:
        """A new predictor for the calling thread."""
        predictor = Predictor(self.booster, self.sidecar)
        self._predictors.append(predictor)
        return predictor

    def close(self) -> None:
        """Free everything; nothing may be scoring with it any more."""
        for predictor in self._predictors:
            predictor.close()
        self._predictors.clear()
        self.booster.close()


def load(release: Release) -> LoadedVersion:
    """Load a verified release into this process."""
    booster = Booster(release.model_text)
    if booster.features != len(release.sidecar.features):
        booster.close()
        raise IntegrityError(
            f"version {release.served.version_id}: the model has {booster.features} features, "
            f"its sidecar {len(release.sidecar.features)}"
        )
    return LoadedVersion(release.served, release.sidecar, release.golden, booster)


def golden_mismatch(version: LoadedVersion, predictor: Predictor) -> str | None:
    """What differs when the golden rows are scored here, or ``None``."""
    encoder = version.encoder(ACCEPT_ALL)
    try:
        scores = [predictor.predict(encoder.checked(row, [])).score for row in version.golden.rows]
    except ScoringError as error:
        return f"a golden row: {error}"
    return compare_golden(version.golden, scores)
