"""``${NAME}`` in a source's address, read from the environment when the data is pulled."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from gauntlet.core.errors import SpecError
from gauntlet.core.registry import did_you_mean

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def expand(model: str, text: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace every ``${NAME}`` by the variable's value.

    Raises:
        SpecError: a variable is not set or empty; only its name is shown, never a value.

    >>> expand("m", "${ROOT}/a.csv", {"ROOT": "/data"})
    '/data/a.csv'
    """
    values = os.environ if environment is None else environment

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if not values.get(name):
            near = [known for known in values if known.startswith(name.split("_")[0])]
            hint = f" ({did_you_mean(name, near)})" if near else ""
            raise SpecError(f"{model}: source.uri needs the environment variable {name}, which is not set{hint}")
        return values[name]

    return VARIABLE.sub(value, text)
