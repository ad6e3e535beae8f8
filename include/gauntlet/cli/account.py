"""Which account of the operating system runs this command: by the kernel, never by what the environment says."""

from __future__ import annotations

import os
import pwd

LOGIN = "/proc/self/loginuid"
"""Who logged in, where the kernel keeps it: it stays the same through ``su`` and ``sudo``."""
UNSET = 2**32 - 1


def account() -> str:
    """The name of the account: of who logged in where that is known, else of who owns this process.

    ``USER`` and ``LOGNAME`` are not asked: anybody may set them. Inside a container it is the container's account.
    """
    login = _login()
    for user in (os.getuid(),) if login is None else (login, os.getuid()):
        try:
            return pwd.getpwuid(user).pw_name
        except KeyError:
            continue
    return f"uid {os.getuid()}"


def _login() -> int | None:
    try:
        with open(LOGIN, encoding="ascii") as file:  # noqa: PTH123 - pathlib costs a rollback 10 ms
            user = int(file.read())
    except (OSError, ValueError):
        return None
    return None if user == UNSET else user
