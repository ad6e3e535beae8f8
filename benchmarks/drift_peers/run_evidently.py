"""Evidently's default drift preset, on two frames that are already in memory."""

from __future__ import annotations

import sys

import pandas as pd
from evidently import Dataset, Report
from evidently.presets import DataDriftPreset
from measured import Measured


def drifted(snapshot: object) -> float:
    """Share of drifted columns as the preset reports it."""
    for metric in snapshot.dict()["metrics"]:  # type: ignore[attr-defined]
        if "DriftedColumnsCount" in str(metric.get("metric_name", metric.get("metric_id", ""))):
            return float(metric["value"]["share"])
    return float("nan")


reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
with Measured(tool="evidently") as result:
    snapshot = Report([DataDriftPreset()]).run(Dataset.from_pandas(current), Dataset.from_pandas(reference))
    result["drifted_share"] = drifted(snapshot)
