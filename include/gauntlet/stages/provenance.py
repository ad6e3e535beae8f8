"""Which code and which packages made a model."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

import gauntlet
from gauntlet.core.digest import sha256_file

REVISION_VARIABLE = "GAUNTLET_GIT_SHA"
"""Set in images, which have no repository."""
LOCK = "requirements.lock"
PACKAGES = ("lightgbm", "numpy", "pyarrow")
UNKNOWN = "unknown"


@cache
def provenance() -> dict[str, str]:
    """Tags that say where a model's code came from; ``unknown`` where it cannot be found out."""
    root = project_root()
    lock = root / LOCK if root else None
    return {
        "gauntlet.git_sha": os.environ.get(REVISION_VARIABLE) or (git_revision(root) if root else UNKNOWN),
        "gauntlet.lock_sha256": sha256_file(lock) if lock and lock.exists() else UNKNOWN,
        "gauntlet.python": platform.python_version(),
        **{f"gauntlet.{name}": version(name) for name in PACKAGES},
    }


def origin() -> dict[str, str]:
    """Everything about this installation and machine that could change what training gives."""
    facts = {name.removeprefix("gauntlet."): fact for name, fact in provenance().items()}
    return {**facts, "machine": platform.machine(), "system": platform.system()}


def project_root() -> Path | None:
    """The nearest folder above the package with a lock file or a repository."""
    above = Path(gauntlet.__file__).resolve().parents
    return next((folder for folder in above if (folder / LOCK).exists() or (folder / ".git").exists()), None)


def git_revision(root: Path) -> str:
    """The commit that is checked out, read from the repository's files: git itself may not be installed."""
    folder = root / ".git"
    if folder.is_file():
        folder = root / folder.read_text().strip().removeprefix("gitdir: ")
    head = _text(folder / "HEAD")
    if not head.startswith("ref: "):
        return head or UNKNOWN
    name = head.removeprefix("ref: ")
    common = folder / _text(folder / "commondir") if (folder / "commondir").exists() else folder
    for place in (folder, common):
        if found := _text(place / name):
            return found
    packed = [line.split(" ") for line in _text(common / "packed-refs").splitlines()]
    return next((line[0] for line in packed if line[1:] == [name]), UNKNOWN)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
