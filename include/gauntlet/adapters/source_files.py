# ruff: file-ignore[hardcoded-sql-expression] - names and values in SQL are quoted by duck.identifier and duck.literal
"""Rows from CSV and Parquet files through DuckDB: a file, a folder, a glob, or an fsspec URL of these."""

from __future__ import annotations

import glob
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from gauntlet.adapters.duck import check_expression, column_types, confine, identifier, literal, session
from gauntlet.adapters.environment import expand
from gauntlet.adapters.pull import Pull
from gauntlet.adapters.snapshot import write_snapshot
from gauntlet.core.errors import DataRejected, InfrastructureError, SpecError
from gauntlet.core.ports import PulledData
from gauntlet.core.spec import ModelSpec

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
    ".csv.zst": "csv",
}
TRACEBACK = "Traceback (most recent call last)"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
READERS = {
    "parquet": "read_parquet([{files}], union_by_name = true)",
    "csv": "read_csv([{files}], union_by_name = true, sample_size = -1)",
}
"""CSV types are settled on all rows, or the order of the rows could change them."""


@dataclass(frozen=True)
class FileSource:
    """Point-in-time reads of files; only the needed columns and rows are held, within ``memory_mb``."""

    scratch: Path
    memory_mb: int = 1024
    threads: int = 0

    def pull(self, spec: ModelSpec, since: datetime | None, until: datetime, *, labelled: bool, to: Path) -> PulledData:
        """See :class:`gauntlet.core.ports.Source`.

        Raises:
            SpecError: an environment variable is missing, or ``derive`` holds what it must not.
            DataRejected: no file, no row, a missing column, an unusable label, a damaged file.
            InfrastructureError: the storage did not answer.
        """
        pull = Pull(spec, since, until, labelled)
        files = find_files(pull.name, expand(spec.model, spec.source.uri))
        stage = to.with_suffix(".stage") if files.format == "csv" else None
        try:
            with session(self.scratch, self.memory_mb, self.threads) as connection, told(pull.name):
                files.admit(connection, stage)
                connection.execute(f"CREATE VIEW raw AS SELECT * FROM {files.reader}")
                _derive(connection, spec)
                return write_snapshot(connection, pull, "source", to, stage)
        finally:
            if stage is not None:
                stage.unlink(missing_ok=True)


@contextmanager
def told(name: str) -> Generator[None]:
    """DuckDB's errors as ours: storage and memory are worth another try, damaged or odd files are not."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise InfrastructureError(f"{name}: memory or disk is not enough: {error}") from None
    except duckdb.Error as error:
        text = str(error)
        if TRACEBACK in text:  # raised by a file system written in Python, not by the content
            # The last line of a traceback names the error; where blank lines stand differs between Python versions.
            raised = re.findall(r"^[A-Za-z_][\w.]*: .+$", text, flags=re.MULTILINE)
            raise InfrastructureError(f"{name}: the storage does not answer: {raised[-1]}") from None
        raise DataRejected(f"{name}: cannot be read: {text}") from None


@dataclass(frozen=True)
class Files:
    """What an address stands for: sorted files of one format, on a disk or on an fsspec file system."""

    paths: tuple[str, ...]
    format: str
    filesystem: Any = None

    @property
    def reader(self) -> str:
        """The DuckDB table function that reads them."""
        return READERS[self.format].format(files=", ".join(literal(path) for path in self.paths))

    def admit(self, connection: DuckDBPyConnection, stage: Path | None) -> None:
        """Let the session read these files, read and write the stage, and nothing else."""
        if self.filesystem is not None:
            connection.register_filesystem(self.filesystem)
        else:  # on a disk it saves nothing, and it wants a whole row group of any size in memory at once
            connection.execute("SET disable_parquet_prefetching = true")
        confine(connection, [*self.paths, *([str(stage)] if stage else [])])


def find_files(name: str, address: str) -> Files:
    """The files behind an address.

    Raises:
        DataRejected: nothing is there, or formats are mixed.
        InfrastructureError: the storage did not answer.
    """
    if "://" in address and not address.startswith("file://"):
        filesystem, paths = _remote(name, address)
    else:
        filesystem, paths = None, _local(name, address.removeprefix("file://"))
    formats = {_format(path) for path in paths}
    if len(formats) > 1:
        raise DataRejected(f"{name}: CSV and Parquet files are mixed; name one kind, as in {address}/*.parquet")
    return Files(tuple(sorted(paths)), formats.pop(), filesystem)


def _local(name: str, address: str) -> list[str]:
    path = Path(address).absolute()
    if path.is_dir():
        return _readable(name, [str(file) for file in path.rglob("*") if file.is_file()], f"folder {path}")
    if glob.has_magic(address):
        found = glob.glob(str(path), recursive=True)  # ruff: ignore[glob] - Path.glob refuses an absolute pattern
        return _readable(name, [file for file in found if Path(file).is_file()], f"glob {path}")
    if not path.is_file():
        raise DataRejected(f"{name}: {path} does not exist")
    return _readable(name, [str(path)], f"file {path}")


def _remote(name: str, address: str) -> tuple[Any, list[str]]:
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(address)
        if glob.has_magic(path):
            found = filesystem.glob(path)
        elif filesystem.isdir(path):
            found = filesystem.find(path)
        else:
            found = [path] if filesystem.exists(path) else []
    except (ImportError, ValueError) as error:
        raise SpecError(f"{name}: source.uri cannot be used: {error}") from None
    except OSError as error:
        raise InfrastructureError(f"{name}: the storage does not answer: {error}") from error
    if type(filesystem).modified is fsspec.AbstractFileSystem.modified:
        # DuckDB asks when a file was changed; a file system that cannot tell must not fail the read.
        filesystem.modified = lambda _: EPOCH
    scheme = address.split("://")[0]
    names = [f"{scheme}://{name.removeprefix(f'{scheme}://')}" for name in found]
    return filesystem, _readable(name, names, "address")


def _format(path: str) -> str:
    """``csv``, ``parquet``, or nothing."""
    name = PurePosixPath(path).name.lower()
    return next((kind for suffix, kind in FORMATS.items() if name.endswith(suffix)), "")


def _readable(name: str, paths: list[str], what: str) -> list[str]:
    """The files of a known format that are not hidden; at least one."""
    shown = [path for path in paths if not PurePosixPath(path).name.startswith((".", "_"))]
    known = [path for path in shown if _format(path)]
    if not known:
        found = f"{len(shown)} other files" if shown else "nothing"
        raise DataRejected(f"{name}: no CSV or Parquet file: {what} holds {found} ({', '.join(FORMATS)})")
    return known


def _derive(connection: DuckDBPyConnection, spec: ModelSpec) -> None:
    """The view ``source``: the files' columns and the computed ones."""
    columns = column_types(connection, "raw")
    items = ["*"]
    for name, expression in spec.source.derive.items():
        key = f"{spec.model}: source.derive.{name}"
        if name in columns:
            raise SpecError(f"{key}: the source already has a column of this name; choose another")
        check_expression(connection, key, expression, columns)
        items.append(f"(\n{expression}\n) AS {identifier(name)}")
    connection.execute(f"CREATE VIEW source AS SELECT {', '.join(items)} FROM raw")
