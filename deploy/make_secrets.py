"""Write ``.env`` with strong random secrets. An existing one is never touched."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from pathlib import Path

EXAMPLE, TARGET = Path(".env.example"), Path(".env")


def value(name: str) -> str:
    """A secret of the form its reader expects."""
    if name == "AIRFLOW_FERNET_KEY":
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(32)


def main() -> int:
    """Fill in every empty variable of the example."""
    if TARGET.exists():
        print(f"{TARGET} exists and was not changed; remove it first to make new secrets", file=sys.stderr)
        return 1
    lines = EXAMPLE.read_text().splitlines()
    text = "\n".join(f"{line}{value(line[:-1])}" if line.endswith("=") else line for line in lines)
    descriptor = os.open(TARGET, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(
            text.replace("# Copy nothing from here: `make secrets` writes", "# Written by `make secrets`. It writes")
            + "\n"
        )
    print(f"wrote {TARGET} (readable by you only)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
