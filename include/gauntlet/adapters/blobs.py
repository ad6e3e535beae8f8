"""Immutable files by content on a disk or any fsspec file system (``s3://``, ``gs://``, ``memory://``).

On a disk a file appears whole or not at all (temporary name, fsync, rename). Every read verifies
the digest; files of a remote store are kept in a local cache, under their digest.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any

from gauntlet.core.digest import sha256_file
from gauntlet.core.errors import GauntletError, InfrastructureError, IntegrityError
from gauntlet.core.ports import Blobs
from gauntlet.core.release import MANIFEST


def open_blobs(root: str, cache: Path) -> Blobs:
    """The store at ``root``: a path, or an fsspec URL; ``cache`` is used for remote stores only."""
    if "://" in root and not root.startswith("file://"):
        return RemoteBlobs(root.rstrip("/"), cache)
    return LocalBlobs(Path(root.removeprefix("file://")).absolute())


@dataclass(frozen=True)
class LocalBlobs:
    """Blobs in a folder; URIs are ``file://`` addresses."""

    root: Path

    def put_file(self, path: Path, key: str) -> str:
        """Store a file; storing the same content again changes nothing.

        Raises:
            IntegrityError: the key already holds other content.
        """
        target = self.root / _safe(key)
        if target.exists():
            if sha256_file(target) != sha256_file(path):
                raise IntegrityError(f"{target}: holds other content; a blob never changes")
        else:
            with _storage(target):
                _write_whole(path, target)
        return f"file://{target}"

    def fetch(self, uri: str, sha256: str) -> Path:
        """The file itself, once its digest is verified."""
        path = self._path(uri)
        _verify(path, sha256, uri)
        return path

    def put_folder(self, folder: Path, key: str) -> str:
        """Store a folder, its manifest last: without manifest there is nothing."""
        for name in _names(folder):
            self.put_file(folder / name, f"{key.rstrip('/')}/{name}")
        return f"file://{self.root / _safe(key.rstrip('/'))}"

    def fetch_folder(self, uri: str, manifest_sha256: str) -> Path:
        """The folder itself, once the manifest and every file it lists are verified."""
        folder = self._path(uri)
        _verify(folder / MANIFEST, manifest_sha256, f"{uri}/{MANIFEST}")
        for name, digest in _listed(folder / MANIFEST):
            _verify(folder / name, digest, f"{uri}/{name}")
        return folder

    def remove(self, uri: str) -> None:
        """Delete a file, or a folder, its manifest first: a folder that is half gone is no folder any more."""
        path = self._path(uri)
        if path == self.root:
            raise IntegrityError(f"{uri}: is the blob store itself")
        with _storage(uri):
            if path.is_dir():
                (path / MANIFEST).unlink(missing_ok=True)
                _sync(path)
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
            if path.parent.exists():
                _sync(path.parent)

    def _path(self, uri: str) -> Path:
        path = Path(uri.removeprefix("file://"))
        if not path.is_relative_to(self.root) or ".." in path.parts:
            raise IntegrityError(f"{uri}: not in this blob store ({self.root})")
        return path


@dataclass(frozen=True)
class RemoteBlobs:
    """Blobs below an fsspec URL, read through a local cache."""

    root: str
    cache: Path

    def put_file(self, path: Path, key: str) -> str:
        """Upload a file; storing the same content again changes nothing.

        Raises:
            IntegrityError: the key already holds other content.
            InfrastructureError: the storage did not answer.
        """
        uri = f"{self.root}/{_safe(key)}"
        with _storage(uri):
            filesystem, target = _open(uri)
            if filesystem.exists(target):
                self.fetch(uri, sha256_file(path))
            else:
                filesystem.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
                filesystem.put_file(str(path), target)
        return uri

    def fetch(self, uri: str, sha256: str) -> Path:
        """A verified copy in the cache; a copy that has gone bad is fetched anew."""
        kept = self.cache / sha256[:2] / f"{sha256}{PurePosixPath(uri).suffix}"
        if not kept.exists() or sha256_file(kept) != sha256:
            self._download(uri, sha256, kept)
        return kept

    def put_folder(self, folder: Path, key: str) -> str:
        """Upload a folder, its manifest last: without manifest there is nothing."""
        for name in _names(folder):
            self.put_file(folder / name, f"{key.rstrip('/')}/{name}")
        return f"{self.root}/{_safe(key.rstrip('/'))}"

    def fetch_folder(self, uri: str, manifest_sha256: str) -> Path:
        """A verified copy in the cache, its manifest put there last."""
        folder = self.cache / "folders" / manifest_sha256
        manifest = self.fetch(f"{uri}/{MANIFEST}", manifest_sha256)
        for name, digest in _listed(manifest):
            _place(self.fetch(f"{uri}/{name}", digest), folder / name, digest)
        _place(manifest, folder / MANIFEST, manifest_sha256)
        return folder

    def remove(self, uri: str) -> None:
        """Delete a file, or a folder, its manifest first; copies in the cache stay until the cache is cleaned."""
        if not uri.startswith(f"{self.root}/"):
            raise IntegrityError(f"{uri}: not in this blob store ({self.root})")
        with _storage(uri):
            filesystem, path = _open(uri)
            if filesystem.exists(f"{path}/{MANIFEST}"):
                filesystem.rm(f"{path}/{MANIFEST}")
            if filesystem.exists(path):
                filesystem.rm(path, recursive=True)

    def _download(self, uri: str, sha256: str, to: Path) -> None:
        if not uri.startswith(f"{self.root}/"):
            raise IntegrityError(f"{uri}: not in this blob store ({self.root})")
        to.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=to.parent, delete=False) as file:
            temporary = Path(file.name)
        try:
            with _storage(uri):
                filesystem, path = _open(uri)
                filesystem.get_file(path, str(temporary))
            _verify(temporary, sha256, uri)
            temporary.replace(to)
        finally:
            temporary.unlink(missing_ok=True)


def _open(uri: str) -> tuple[Any, str]:
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(uri)
    return filesystem, str(path)


@contextmanager
def _storage(what: object) -> Generator[None]:
    """Failures of the storage as what they are: gone is final, everything else is worth another try."""
    try:
        yield
    except GauntletError:
        raise
    except FileNotFoundError as error:
        raise IntegrityError(f"{what}: is not there any more: {error}") from None
    except Exception as error:  # each fsspec implementation has its own: botocore's are no OSError
        raise InfrastructureError(f"{what}: the storage does not answer: {error}") from error


def _write_whole(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as file:
        temporary = Path(file.name)
    try:
        shutil.copyfile(path, temporary)
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _place(kept: Path, target: Path, digest: str) -> None:
    if not target.exists() or sha256_file(target) != digest:
        _write_whole(kept, target)


def _verify(path: Path, sha256: str, what: str) -> None:
    if not path.is_file():
        raise IntegrityError(f"{what}: is not there; it was recorded with digest {sha256[:12]}")
    actual = sha256_file(path)
    if actual != sha256:
        raise IntegrityError(f"{what}: has digest {actual[:12]}, recorded was {sha256[:12]}; the bytes have changed")


def _safe(key: str) -> str:
    parts = PurePosixPath(key).parts
    if not parts or key.startswith("/") or ".." in parts:
        raise IntegrityError(f"{key!r} is no key of a blob")
    return str(PurePosixPath(key))


def _names(folder: Path) -> list[str]:
    """The files of a folder, the manifest last."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if MANIFEST not in names:
        raise IntegrityError(f"{folder}: has no {MANIFEST}; a folder without one cannot be verified")
    return [*(name for name in names if name != MANIFEST), MANIFEST]


def _listed(manifest: Path) -> list[tuple[str, str]]:
    try:
        files = json.loads(manifest.read_bytes())["files"]
        return [(_safe(name), str(digest)) for name, digest in sorted(files.items())]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{manifest}: is no manifest: {error}") from None
