"""The records that lie in a release's folder."""

from __future__ import annotations

from pathlib import Path

from gauntlet.core.ports import Services
from gauntlet.core.records.model import GoldenSet, ModelSidecar
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.release import GOLDEN, SIDECAR


def sidecar_in(folder: Path) -> ModelSidecar:
    """What travels with the trees."""
    return ModelSidecar.model_validate_json((folder / SIDECAR).read_bytes())


def golden_in(folder: Path) -> GoldenSet:
    """The golden rows with their scores."""
    return GoldenSet.model_validate_json((folder / GOLDEN).read_bytes())


def read_sidecar(services: Services, version: ServedVersion) -> ModelSidecar:
    """The sidecar of a version, from its verified folder; :class:`IntegrityError` when that is damaged."""
    return sidecar_in(services.blobs.fetch_folder(version.release_uri, version.release_digest))


def read_golden(services: Services, version: ServedVersion) -> GoldenSet:
    """The golden rows of a version, from its verified folder; :class:`IntegrityError` when that is damaged."""
    return golden_in(services.blobs.fetch_folder(version.release_uri, version.release_digest))
