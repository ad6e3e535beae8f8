"""Names of counters, as Prometheus writes them."""

from __future__ import annotations


def key(name: str, **labels: str) -> str:
    """A counter's name with its labels, as Prometheus writes it.

    >>> key("gauntlet_requests_total", model="m", status="200")
    'gauntlet_requests_total{model="m",status="200"}'
    """
    inside = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")[:64]
