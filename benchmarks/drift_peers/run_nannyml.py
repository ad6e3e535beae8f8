"""NannyML's univariate drift with KS and Wasserstein, Jensen-Shannon and chi-squared, in one chunk."""

from __future__ import annotations

import sys

import nannyml
import pandas as pd
from measured import Measured

reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
labels = [name for name in reference if not pd.api.types.is_numeric_dtype(reference[name])]
reference[labels], current[labels] = reference[labels].astype("category"), current[labels].astype("category")
with Measured(tool="nannyml") as result:
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=list(reference),
        treat_as_categorical=labels,
        continuous_methods=["kolmogorov_smirnov", "wasserstein", "jensen_shannon"],
        categorical_methods=["chi2", "jensen_shannon"],
        chunk_number=1,
    )
    found = calculator.fit(reference).calculate(current).filter(period="analysis").to_df()
    result["drifted_share"] = float(found.xs("alert", axis=1, level=2).any().mean())
