"""Alibi Detect's TabularDrift: KS and chi-squared with Bonferroni."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from alibi_detect.cd import TabularDrift
from measured import Measured

reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
labels = [name for name in reference if not pd.api.types.is_numeric_dtype(reference[name])]
categories = {}
for name in labels:
    known = sorted(set(reference[name].dropna()) | set(current[name].dropna()))
    for frame in (reference, current):
        frame[name] = pd.Categorical(frame[name], categories=known).codes.astype(float)
    categories[list(reference).index(name)] = list(range(len(known)))
arrays = [np.ascontiguousarray(frame.to_numpy(dtype=np.float64)) for frame in (reference, current)]
with Measured(tool="alibi-detect") as result:
    found = TabularDrift(arrays[0], p_val=0.05, categories_per_feature=categories).predict(arrays[1])
    result["drifted_share"] = float(found["data"]["is_drift"])
