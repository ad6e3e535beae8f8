"""The two assets that link a model's DAGs.

An event is a signal, not a message: Airflow folds several events during a run into one follow-up
run, so the consumer always reads the newest facts from the store.
"""

from __future__ import annotations

from airflow.sdk import Asset

from gauntlet.core.spec import ModelSpec


def retrain_wanted(spec: ModelSpec) -> Asset:
    """Updated when a drift check decides that the model must be retrained."""
    return Asset(name=f"{spec.model}__retrain_wanted", uri=f"gauntlet://{spec.model}/retrain-wanted", group="gauntlet")


def challenger_registered(spec: ModelSpec) -> Asset:
    """Updated when a candidate has passed all gates and is registered."""
    return Asset(
        name=f"{spec.model}__challenger_registered",
        uri=f"gauntlet://{spec.model}/challenger-registered",
        group="gauntlet",
    )
