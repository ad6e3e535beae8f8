"""Blobs: whole or not at all, verified on every read; on a disk and behind fsspec alike."""

from __future__ import annotations

import json
import os
from pathlib import Path

import fsspec
import pytest

from gauntlet.adapters.blobs import MANIFEST, LocalBlobs, RemoteBlobs, open_blobs
from gauntlet.core.digest import sha256_bytes, sha256_file
from gauntlet.core.errors import InfrastructureError, IntegrityError
from gauntlet.core.ports import Blobs

REMOTE = "memory://gauntlet-blobs"


@pytest.fixture(params=["local", "remote"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    memory = fsspec.filesystem("memory")
    if memory.exists("/gauntlet-blobs"):
        memory.rm("/gauntlet-blobs", recursive=True)
    return open_blobs(REMOTE if request.param == "remote" else str(tmp_path / "store"), tmp_path / "cache")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.bin"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "release"
    (path / "deep").mkdir(parents=True)
    (path / "model.txt").write_text("tree")
    (path / "deep" / "golden.json").write_text("{}")
    files = {name: sha256_file(path / name) for name in ("model.txt", "deep/golden.json")}
    (path / MANIFEST).write_text(json.dumps({"files": files}))
    return path


def spoil(blobs: Blobs, uri: str, content: bytes) -> None:
    if isinstance(blobs, RemoteBlobs):
        fsspec.filesystem("memory").pipe_file(uri.removeprefix("memory:/"), content)
    else:
        Path(uri.removeprefix("file://")).write_bytes(content)


def test_what_is_put_is_fetched(blobs: Blobs, file: Path) -> None:
    uri = blobs.put_file(file, "a/b/x.bin")
    assert blobs.fetch(uri, sha256_bytes(b"content")).read_bytes() == b"content"
    assert blobs.put_file(file, "a/b/x.bin") == uri


def test_a_blob_never_changes(blobs: Blobs, file: Path) -> None:
    blobs.put_file(file, "x.bin")
    file.write_bytes(b"other")
    with pytest.raises(IntegrityError):
        blobs.put_file(file, "x.bin")


def test_changed_bytes_are_refused(blobs: Blobs, file: Path) -> None:
    uri = blobs.put_file(file, "x.bin")
    spoil(blobs, uri, b"contenu")
    with pytest.raises(IntegrityError, match="the bytes have changed"):
        blobs.fetch(uri, sha256_bytes(b"content"))


def test_a_missing_blob_is_named(blobs: Blobs, file: Path) -> None:
    uri = blobs.put_file(file, "x.bin")
    with pytest.raises(IntegrityError, match=r"gone\.bin: is not there"):
        blobs.fetch(uri.replace("x.bin", "gone.bin"), sha256_bytes(b""))


def test_a_folder_is_verified_from_its_manifest(blobs: Blobs, folder: Path) -> None:
    uri = blobs.put_folder(folder, "releases/m/1/")
    fetched = blobs.fetch_folder(uri, sha256_file(folder / MANIFEST))
    assert (fetched / "deep" / "golden.json").read_text() == "{}"
    assert blobs.put_folder(folder, "releases/m/1/") == uri
    with pytest.raises(IntegrityError, match=r"manifest\.json: has digest"):
        blobs.fetch_folder(uri, "0" * 64)


def test_a_changed_file_in_a_folder_is_refused(blobs: Blobs, folder: Path) -> None:
    uri = blobs.put_folder(folder, "releases/m/1")
    spoil(blobs, f"{uri}/model.txt", b"tee")
    with pytest.raises(IntegrityError, match=r"model\.txt: has digest"):
        blobs.fetch_folder(uri, sha256_file(folder / MANIFEST))


def test_the_manifest_comes_last(blobs: Blobs, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    put = type(blobs).put_file
    monkeypatch.setattr(
        type(blobs), "put_file", lambda self, path, key: order.append(path.name) or put(self, path, key)
    )
    blobs.put_folder(folder, "releases/m/1")
    assert order[-1] == MANIFEST
    (folder / MANIFEST).unlink()
    with pytest.raises(IntegrityError, match="has no manifest"):
        blobs.put_folder(folder, "releases/m/2")


@pytest.mark.parametrize("key", ["../x", "/x", "a/../../x", ""])
def test_keys_stay_inside_the_store(blobs: Blobs, file: Path, key: str) -> None:
    with pytest.raises(IntegrityError, match="no key of a blob"):
        blobs.put_file(file, key)


def test_addresses_stay_inside_the_store(blobs: Blobs, tmp_path: Path) -> None:
    for uri in ("file:///etc/passwd", "memory://elsewhere/x", f"file://{tmp_path}/store/../x.bin"):
        with pytest.raises(IntegrityError, match="not in this blob store"):
            blobs.fetch(uri, "0" * 64)


def test_a_manifest_cannot_point_outside(blobs: Blobs, folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({"files": {"../../x.bin": "0" * 64}}))
    uri = blobs.put_folder(folder, "releases/m/1")
    with pytest.raises(IntegrityError, match="no key of a blob"):
        blobs.fetch_folder(uri, sha256_file(folder / MANIFEST))
    (folder / MANIFEST).write_text("[]")
    uri = blobs.put_folder(folder, "releases/m/2")
    with pytest.raises(IntegrityError, match="is no manifest"):
        blobs.fetch_folder(uri, sha256_file(folder / MANIFEST))


def test_a_torn_write_leaves_nothing(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = LocalBlobs(tmp_path / "store")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InfrastructureError, match="No space left"):
        blobs.put_file(file, "a/x.bin")
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_spoilt_cache_is_fetched_anew(tmp_path: Path, file: Path) -> None:
    blobs = open_blobs(f"{REMOTE}-cache", tmp_path / "cache")
    uri = blobs.put_file(file, "x.bin")
    kept = blobs.fetch(uri, sha256_bytes(b"content"))
    kept.write_bytes(b"spoilt")
    assert blobs.fetch(uri, sha256_bytes(b"content")).read_bytes() == b"content"


def test_storage_that_does_not_answer_is_worth_another_try(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = open_blobs(f"{REMOTE}-down", tmp_path / "cache")

    def down(*arguments: object, **options: object) -> None:
        raise RuntimeError("credentials expired")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "put_file", down)
    with pytest.raises(InfrastructureError, match="credentials expired"):
        blobs.put_file(file, "x.bin")


def test_what_is_removed_is_gone_and_removing_again_is_nothing(blobs: Blobs, file: Path, folder: Path) -> None:
    one, release = blobs.put_file(file, "a/x.bin"), blobs.put_folder(folder, "releases/m/1")
    other = blobs.put_folder(folder, "releases/m/2")
    for _ in range(2):
        blobs.remove(one)
        blobs.remove(release)
    blobs.fetch_folder(other, sha256_file(folder / MANIFEST))
    assert blobs.put_file(file, "a/x.bin") == one


def test_a_folder_loses_its_manifest_first(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = LocalBlobs(tmp_path / "store")
    uri = blobs.put_folder(folder, "releases/m/1")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        blobs.remove(uri)
    with pytest.raises(IntegrityError):
        blobs.fetch_folder(uri, sha256_file(folder / MANIFEST))


def test_nothing_outside_the_store_is_removed(blobs: Blobs, tmp_path: Path) -> None:
    for uri in ("file:///etc/hosts", f"file://{tmp_path}/store/../x", "memory://elsewhere/x"):
        with pytest.raises(IntegrityError, match="not in this blob store"):
            blobs.remove(uri)
