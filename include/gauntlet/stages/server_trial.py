"""Try the release on a real model server of its own, for the gate ``infra_validation``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gauntlet.core.gates.infra_validation import NAME, InfraValidationConfig, observed
from gauntlet.core.records.model import TrainedModel
from gauntlet.core.records.observation import ServerTrial
from gauntlet.stages.release_folder import golden_in

if TYPE_CHECKING:
    from gauntlet.core.ports import Services
    from gauntlet.core.records.run import RunContext


def try_on_server(services: Services, run: RunContext) -> ServerTrial | None:
    """What a server did with the candidate, stored; once per candidate and spec. ``None``: the spec does not ask.

    Raises:
        InfrastructureError: the server did not start; nothing is known of the candidate then.
    """
    spec = services.specs.get(run.model)
    if not spec.gates.wants(NAME):
        return None
    release = services.records.get(run.key, TrainedModel).release
    known = services.records.find(run.key, ServerTrial)
    if known is not None and (known.candidate, known.spec_digest) == (release.digest, run.spec_digest):
        return known
    config = spec.gates.config(NAME)
    assert isinstance(config, InfraValidationConfig)
    folder = services.blobs.fetch_folder(release.uri, release.digest)
    golden = golden_in(folder)
    trial = services.trials.run(spec, release, folder, golden.rows, config.requests)
    found = tuple(observed(trial, golden.scores, len(golden.rows)))
    report = ServerTrial(candidate=release.digest, spec_digest=run.spec_digest, observations=found)
    services.records.put(run.key, report)
    return report
