"""What a drift check reads: the champion's profile and training rows, and the current window."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gauntlet.core.digest import sha256_bytes
from gauntlet.core.errors import DataRejected, MissingRecord
from gauntlet.core.ports import PulledData, Services
from gauntlet.core.records.data import DatasetRef, SplitManifest
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext
from gauntlet.core.release import PROFILE
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.write_profile import kinds_in, train_rows

if TYPE_CHECKING:
    from gauntlet.core.axis import Floats
    from gauntlet.core.drift import Exact
    from gauntlet.core.profile import Profile
    from gauntlet.stages.windows import Window

EVERY = 100_000


def read_profile(services: Services, champion: ServedVersion) -> tuple[Profile, str]:
    """The champion's profile and its SHA-256."""
    from gauntlet.core.profile import Profile

    path = services.blobs.fetch_folder(champion.release_uri, champion.release_digest) / PROFILE
    if not path.is_file():
        raise DataRejected(f"release {champion.release_digest[:12]} has no {PROFILE}: retrain to get one")
    content = path.read_bytes()
    return Profile.from_bytes(content), sha256_bytes(content)


def training_window(services: Services, run: RunContext, profile: Profile) -> Window:
    """The rows that the champion was trained on."""
    from gauntlet.stages.windows import Window

    dataset = _by_digest(services, run.model, DatasetRef, profile.about.get("dataset"))
    split = _by_digest(services, run.model, SplitManifest, profile.about.get("split"))
    chosen = train_rows(services.blobs.fetch(split.uri, split.sha256), dataset.rows)
    return Window(services.blobs.fetch(dataset.uri, dataset.sha256), chosen, verified=True)


Stored = TypeVar("Stored", DatasetRef, SplitManifest)


def _by_digest(services: Services, model: str, kind: type[Stored], digest: str | None) -> Stored:
    """The record of a file by its content: a release does not say which of several equal runs made it."""
    for known in services.records.newest(model, kind, limit=EVERY):
        if known.sha256 == digest:
            return known
    raise MissingRecord(f"{model}: no {kind.__name__} {str(digest)[:12]} in the store: the champion's run is not in it")


def exact_columns(
    reference: Window, current: Path, only: Collection[str] | None = None, *, verified: bool = True
) -> Exact:
    """Reads both columns whole, sorted, of all rows or of one segment; ``only`` some features."""
    from gauntlet.stages.windows import Window, segment_of, sorted_column

    whole = reference, Window(current, verified=verified)
    parts: dict[str, tuple[Window, Window]] = {}

    def exact(feature: str, segment: str | None) -> tuple[Floats, Floats] | None:
        if only is not None and feature not in only:
            return None
        if segment is not None and segment not in parts:
            parts[segment] = segment_of(whole[0], segment), segment_of(whole[1], segment)
        windows = whole if segment is None else parts[segment]
        both = [sorted_column(window, feature) for window in windows]
        if both[0] is None or both[1] is None or not len(both[0]) or not len(both[1]):
            return None
        return both[0], both[1]

    return exact


@contextmanager
def removed(path: Path) -> Generator[None]:
    """A file that is gone afterwards, whatever happens."""
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def window_start(spec: ModelSpec, until: datetime) -> datetime | None:
    """Where the current window begins; ``None`` for a source without time."""
    return until - spec.drift.window if spec.source.columns.event_time else None


def pull_window(services: Services, run: RunContext, spec: ModelSpec, until: datetime) -> PulledData:
    """The unlabelled rows of the window that ends at ``until``."""
    services.scratch.mkdir(parents=True, exist_ok=True)
    to = services.scratch / f"drift-{run.model}-{sha256_bytes(f'{run.key}{until}'.encode())[:12]}.parquet"
    source = services.sources[spec.source.kind]
    return source.pull(spec, window_start(spec, until), until, labelled=False, to=to)


def count_window(path: Path, profile: Profile, spec: ModelSpec) -> Profile:
    """The window on the profile's axes, with the segments that the profile has."""
    from gauntlet.stages.windows import Window, counted

    kinds = {name: kind for name, kind in kinds_in(spec).items() if name in profile.columns}
    segments: dict[str, Sequence[str]] = {column: tuple(parts) for column, parts in profile.segments.items()}
    return counted(profile.blank(), Window(path, verified=True), kinds, segments)
