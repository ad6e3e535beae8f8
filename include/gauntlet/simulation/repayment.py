"""Who defaults, when that becomes known, and what a decision earns: the truth models try to find."""

from __future__ import annotations

import numpy as np

from gauntlet.simulation.draws import Draws, Floats
from gauntlet.simulation.population import Table, factor_of, sigmoid

PURPOSE_RISK = {"consolidation": 0.34, "medical": 0.22, "travel": 0.12, "other": 0.08, "car": -0.22, "education": -0.1}
REGION_RISK = {"south": 0.12, "east": 0.18, "islands": 0.22, "north": -0.08}
EMPLOYMENT_RISK = {"temporary": 0.45, "self_employed": 0.28, "civil_servant": -0.55, "retired": -0.2}
HOME_RISK = {"own": -0.3, "mortgage": -0.18, "family": 0.2}
LABEL_DAYS = 4
"""The load that follows midnight brings the outcomes of the applications of this many days ago."""
LOSS_SHARE = 0.52
"""Part of the amount that is lost on a default."""
HANDLING_COST = 18.0


def log_odds(table: Table, intent: Floats, partner: bool) -> Floats:
    """True log-odds of default (n,). The partner's income and bureau score say less, its brokers' loans more."""
    trust = 0.35 if partner else 1.0
    score = np.where(np.isnan(table["bureau_score"]), 605.0, table["bureau_score"])
    income = np.log(table["income"] / 2_300.0)
    burden = np.minimum(table["debt_to_income"], 1.2) - 0.42
    used = np.where(np.isnan(table["utilization"]), 0.45, table["utilization"])
    short_job = np.nan_to_num(table["employment_years"], nan=4.0) < 1.0
    value = -2.95 - trust * 0.0098 * (score - 645.0) - trust * 0.55 * income + 1.9 * burden + 1.5 * np.square(used)
    value += 0.16 * np.minimum(table["inquiries_6m"], 8) + 0.5 * short_job + 0.35 * table["new_customer"]
    value += factor_of(PURPOSE_RISK, table["purpose"]) + factor_of(REGION_RISK, table["region"])
    value += factor_of(EMPLOYMENT_RISK, table["employment"]) + factor_of(HOME_RISK, table["home"])
    value += 0.010 * (table["term_months"] - 24) - 0.35 * table["has_coapplicant"] - 0.3 * table["direct_deposit"]
    value += 0.6 * ((burden > 0.25) & (used > 0.6)) - 0.25 * table["phone_verified"]
    if partner:
        value += 0.25 + 0.40 * (table["channel"] == "broker") - 0.25 * (table["purpose"] == "consolidation")
    return np.asarray(value + 0.85 * intent)


def outcomes(table: Table, intent: Floats, draws: Draws, partner: bool) -> Table:
    """Label, when it and the row become known, and the money at stake, all from the draws."""
    u = draws.uniform
    load = table["applied_at"].astype("datetime64[D]") + np.timedelta64(LABEL_DAYS, "D")
    within = (600.0 + 1_800.0 * u[:, 15]) * 1e6
    lag = (300.0 + 5_100.0 * u[:, 16] ** 2) * 1e6
    interest = table["amount"] * table["interest_rate"] * table["term_months"] / 12.0 * 0.55
    return {
        "defaulted": (u[:, 14] < sigmoid(log_odds(table, intent, partner))).astype(np.int64),
        "label_known_at": load.astype("datetime64[us]") + within.astype("timedelta64[us]"),
        "ingested_at": table["applied_at"] + lag.astype("timedelta64[us]"),
        "profit_if_repaid": np.round(interest - HANDLING_COST, 2),
        "loss_if_defaulted": np.round(LOSS_SHARE * table["amount"] + HANDLING_COST, 2),
    }


def device_risk(intent: Floats, draws: Draws) -> Floats:
    """The vendor's true device risk in (0, 1): it sees part of the hidden intent."""
    return np.round(sigmoid(1.5 * (0.75 * intent + 0.66 * draws.normal[:, 8])), 4)


def placeholder_risk(draws: Draws) -> Floats:
    """What the old integration writes instead, and what every live request carries."""
    return np.where(draws.uniform[:, 17] < 0.94, 0.0, 0.05)
