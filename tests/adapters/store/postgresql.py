"""A PostgreSQL server of the tests' own, from installed binaries, on a Unix socket in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

NEEDED = ("initdb", "pg_ctl", "postgres")


def binaries() -> Path | None:
    """The folder with the newest server's programs; they are often not on the PATH (Debian)."""
    found = [Path(path).parent for path in [shutil.which("postgres")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    return next((folder for folder in found if all((folder / name).exists() for name in NEEDED)), None)


def account() -> str | None:
    """Whom to run it as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def why_not() -> str | None:
    """The reason why no server can be started here."""
    if binaries() is None:
        return "PostgreSQL server is not installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and account() is None:
        return "PostgreSQL does not run as root and there is no account postgres or nobody"
    return None


@contextmanager
def server() -> Generator[str, None, None]:
    """The URL of a running, empty server; stopped and removed at the end."""
    programs = binaries()
    assert programs is not None
    user = account()
    folder = Path(mkdtemp(prefix="gauntlet-pg-"))
    if user:
        shutil.chown(folder, user)
    data = folder / "data"

    def run(*command: str) -> None:
        subprocess.run(
            command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, timeout=120
        )

    run(
        str(programs / "initdb"), "-D", str(data), "-U", "gauntlet",
        "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C",
    )  # fmt: skip
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=60"
    run(str(programs / "pg_ctl"), "-D", str(data), "-l", str(folder / "log"), "-w", "-o", options, "start")
    try:
        yield f"postgresql://gauntlet@/postgres?host={folder}"
    finally:
        run(str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)
