"""What belongs to a release and is known only after it was judged: receipts, decision, card; kept beside it.

The release's own digest is what the receipts are bound to, so they cannot be in it: the dossier is a second folder
below the same prefix, sealed the same way, its manifest last, and read again before anything refers to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from gauntlet.core.digest import canonical_json, sha256_bytes
from gauntlet.core.model_card import model_card
from gauntlet.core.ports import Services
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.model import ReleaseDossier, TrainedModel
from gauntlet.core.records.run import RunContext
from gauntlet.core.release import MANIFEST


def keep_dossier(
    services: Services,
    run: RunContext,
    trained: TrainedModel,
    decision: PromotionDecision,
    receipts: Mapping[str, GateReceipt],
) -> ReleaseDossier:
    """Store the dossier; the same records give the same folder, so that a second try changes nothing.

    Raises:
        IntegrityError: what was written does not read back as what was meant.
    """
    release = trained.release.digest
    card = model_card(run, trained, decision, receipts, services.records.find(run.key, DatasetRef))
    files = {
        "card.md": card.encode(),
        "decision.json": canonical_json(json.loads(decision.model_dump_json())),
        "receipts.json": canonical_json({gate: json.loads(one.model_dump_json()) for gate, one in receipts.items()}),
        "training.json": canonical_json(json.loads(trained.model_dump_json())),
    }
    content = {name: sha256_bytes(data) for name, data in files.items()}
    manifest = (json.dumps({"release": release, "files": content}, indent=1, sort_keys=True) + "\n").encode()
    digest = sha256_bytes(manifest)
    services.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=services.scratch, prefix="dossier-") as folder:
        for name, data in {**files, MANIFEST: manifest}.items():
            (Path(folder) / name).write_bytes(data)
        uri = services.blobs.put_folder(Path(folder), f"dossiers/{run.model}/{release}/{digest}")
    services.blobs.fetch_folder(uri, digest)
    return ReleaseDossier(release=release, uri=uri, digest=digest)
