"""Names of counters, as Prometheus writes them."""

from __future__ import annotations


def key(name: str, **labels: str) -> str:
    """A counter's name with its labels, as Prometheus writes it.

    >>> key("gauntlet_requests_total", model="m", status="200")
    'gauntlet_requests_total{model="m",status="200"}'
    """
    inside = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name


SPECIAL = {"\\", '"', "\n"}
LONGEST = 64
"""Bytes of a value as it is written: a counter has so much room, and one label cut in half spoils a whole page."""


def _escaped(value: str) -> str:
    if len(value) <= LONGEST and value.isascii() and not SPECIAL & set(value):
        return value
    written = [{"\\": r"\\", '"': r"\"", "\n": r"\n"}.get(each, each) for each in value[:LONGEST]]
    while len("".join(written).encode("utf-8", "replace")) > LONGEST:
        written.pop()
    return "".join(written)
