"""What is recorded of a release, found by its digest or by what people call its version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gauntlet.core.errors import DataRejected
from gauntlet.core.ports import Services
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.model import Derivation, RegisteredVersion, TrainedModel
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext
from gauntlet.stages.releases import ALL, Recorded, versions_of
from gauntlet.stages.snapshot import read_verified

if TYPE_CHECKING:
    import pyarrow as pa

EVALUATIONS = 200
"""How many evaluations back a champion's own may lie."""


def version_called(place: Recorded, model: str, name: str) -> RegisteredVersion | None:
    """The newest version that answers to a name; see :meth:`RegisteredVersion.is_called`."""
    return next((registered for registered in versions_of(place, model) if registered.is_called(name)), None)


def made_by(services: Services, model: str, release: str) -> tuple[RunContext, TrainedModel] | None:
    """The run that made a release, trained or derived, and its record of it; ``None``: no run of this store has."""
    runs = {run.key: run for run in services.records.newest(model, RunContext, limit=ALL)}
    for key, named in services.records.of_runs(list(runs), TrainedModel).items():
        for trained in named.values():
            if trained.release.digest == release:
                return runs[key], trained
    return None


def derivation_of(services: Services, model: str, release: str) -> Derivation | None:
    """How a release came about, where it was not trained."""
    found = services.records.newest(model, Derivation, limit=ALL)
    return next((one for one in found if one.release == release), None)


def holdout_scores(services: Services, model: str, champion: ServedVersion) -> pa.Table:
    """The champion's scores and labels on its own holdout, as they were recorded before it took over.

    Raises:
        DataRejected: it was never evaluated here.
        IntegrityError: the file is not what was recorded.
    """
    identities = {champion.version_id, champion.release_digest}
    found = services.records.newest(model, EvaluationRef, limit=EVALUATIONS)
    ref = next((one for one in found if one.candidate in identities), None)
    if ref is None:
        raise DataRejected(f"no evaluation of champion {champion.version_id} in the store: retrain to get one")
    return read_verified(services.blobs.fetch(ref.uri, ref.sha256))
