"""Every kind of alert has a section of its own in the runbook; this is where its heading comes from."""

from __future__ import annotations

from gauntlet.core.records.monitoring import Layer

UNSEEN = "unseen"
USERS = (Layer.PRODUCT.value, Layer.BUSINESS.value)
"""Layers whose symptoms are named by the spec."""
KINDS = (
    UNSEEN,
    "service.errors",
    "service.latency",
    "service.throughput",
    "service.journal",
    "service.agreement",
    "data.missing_rate",
    "data.mean_shift",
    "data.sigma_ratio",
    "data.categories",
    "data.dtype",
    "data.range",
    "data.quality",
    "data.drift",
    "data.volume",
    "data.freshness",
    "data.skew",
    "model.performance",
    "model.calibration",
    "model.estimate",
    "model.prediction",
    "model.prediction.unseen",
    "model.confidence",
    "model.label",
    "model.diversity",
    "model.slice",
    "model.slice_audit",
    "product",
    "product.unseen",
    "business",
    "business.unseen",
)
"""What an alert can be about: the key without the feature, metric or slice."""


def kind_of(key: str) -> str:
    """The kind of an alert's key.

    >>> kind_of("data.missing_rate.income"), kind_of("business.revenue"), kind_of("model.unseen")
    ('data.missing_rate', 'business', 'unseen')
    """
    layer, _, rest = key.partition(".")
    if rest == UNSEEN:
        return UNSEEN
    if layer in USERS:
        return f"{layer}.{UNSEEN}" if rest.startswith(f"{UNSEEN}.") else layer
    name, _, part = rest.partition(".")
    kind = f"{layer}.{name}"
    return f"{kind}.{UNSEEN}" if part == UNSEEN and f"{kind}.{UNSEEN}" in KINDS else kind


def heading(kind: str) -> str:
    """The section's heading.

    >>> heading("data.skew")
    'Alert data.skew'
    """
    return f"Alert {kind}"


def section(runbook: str, key: str) -> str:
    """The address of an alert's section, as GitHub and Airflow's page make it from the heading.

    >>> section("docs/runbook.md", "data.missing_rate.income")
    'docs/runbook.md#alert-datamissing_rate'
    """
    anchor = heading(kind_of(key)).lower().replace(".", "").replace(" ", "-")
    return f"{runbook.partition('#')[0]}#{anchor}"
