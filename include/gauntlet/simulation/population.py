"""Who applies, and for what: raw draws become applications.

Own portfolio and taken-over portfolio differ in a :class:`Portfolio`; everything else is shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gauntlet.simulation.draws import MAX_PER_HOUR, Draws, Floats, Ints, hashed_uniform

Table = dict[str, NDArray[Any]]
"""Columns of equal length by name."""

TERMS = np.array([6, 12, 18, 24, 36, 48, 60], dtype=np.int64)
RETURNING = 0.25
"""Share of applications by customers of the standing pool; all others come once."""
POOL_DAYS = 35
"""The pool holds this many days' worth of customers, so that few return within one training window."""


@dataclass(frozen=True)
class Portfolio:
    """The mix of a lender's customers. Shares of each mapping sum to 1."""

    median_income: float
    bureau_mean: float
    region: Mapping[str, float]
    purpose: Mapping[str, float]
    channel: Mapping[str, float]
    employment: Mapping[str, float]
    first_customer: int
    prefix: str


OWN = Portfolio(
    median_income=2_350.0,
    bureau_mean=652.0,
    region={"north": 0.24, "west": 0.26, "centre": 0.18, "south": 0.14, "east": 0.12, "islands": 0.06},
    purpose={
        "car": 0.22,
        "consolidation": 0.18,
        "household": 0.22,
        "travel": 0.12,
        "medical": 0.07,
        "education": 0.08,
        "other": 0.11,
    },
    channel={"web": 0.46, "app": 0.33, "branch": 0.17, "broker": 0.04},
    employment={"salaried": 0.62, "self_employed": 0.13, "civil_servant": 0.09, "temporary": 0.07, "retired": 0.09},
    first_customer=1_000_000,
    prefix="A",
)
PARTNER = Portfolio(
    median_income=1_520.0,
    bureau_mean=612.0,
    region={"north": 0.05, "west": 0.07, "centre": 0.10, "south": 0.47, "east": 0.27, "islands": 0.04},
    purpose={
        "car": 0.13,
        "consolidation": 0.42,
        "household": 0.20,
        "travel": 0.05,
        "medical": 0.09,
        "education": 0.03,
        "other": 0.08,
    },
    channel={"web": 0.16, "app": 0.10, "branch": 0.04, "broker": 0.70},
    employment={"salaried": 0.50, "self_employed": 0.12, "civil_servant": 0.03, "temporary": 0.27, "retired": 0.08},
    first_customer=500_000_000,
    prefix="B",
)
HOME = {"rent": 0.52, "own": 0.22, "mortgage": 0.18, "family": 0.08}
PURPOSE_SIZE = {
    "car": 1.7,
    "consolidation": 1.4,
    "household": 0.8,
    "travel": 0.55,
    "medical": 0.7,
    "education": 0.9,
    "other": 0.75,
}
EMPLOYMENT_PAY = {"salaried": 1.0, "self_employed": 1.08, "civil_servant": 1.12, "temporary": 0.74, "retired": 0.7}


def applications(draws: Draws, portfolio: Portfolio, per_day: float, base: int = 0) -> tuple[Table, Floats]:
    """The applications of some draws, and each one's hidden intent to deceive (standard normal).

    ``base`` is added to application and customer numbers, so that flows never share them.
    """
    u, z = draws.uniform, draws.normal
    serial = draws.hour * MAX_PER_HOUR + draws.number + base
    returning = u[:, 0] < RETURNING
    pool = max(int(per_day * POOL_DAYS), 1)
    customer = np.where(returning, (u[:, 1] * pool).astype(np.int64) + portfolio.first_customer, serial)
    table: Table = {
        "application_id": np.char.mod(f"{portfolio.prefix}%d", serial),
        "customer_id": np.char.mod("C%d", customer),
        "applied_at": _seconds(draws.hour * 3600 + u[:, 2] * 3600),
        "new_customer": ~returning,
    }
    table |= _person(customer, portfolio)
    table |= _finances(table, customer, portfolio, u, z)
    table |= _loan(table, u, z)
    table |= _behaviour(table, u, z)
    return table, z[:, 0]


def _seconds(epoch: Floats) -> NDArray[np.datetime64]:
    return epoch.astype(np.int64).astype("datetime64[s]").astype("datetime64[us]")


def choose(shares: Mapping[str, float], uniform: Floats) -> NDArray[np.object_]:
    """One name per uniform number, with the given shares."""
    edges = np.cumsum(list(shares.values()))[:-1]
    return np.array(list(shares), dtype=object)[np.searchsorted(edges, uniform, side="right")]


def factor_of(factors: Mapping[str, float], names: NDArray[Any]) -> Floats:
    """The factor of each name; 0 for a name without one."""
    found = np.zeros(len(names))
    for name, factor in factors.items():
        found[names == name] = factor
    return found


def _normal(customer: Ints, salt: int) -> Floats:
    """A fixed standard normal number per customer (Box–Muller)."""
    radius = np.sqrt(-2.0 * np.log1p(-hashed_uniform(customer, salt)))
    return np.asarray(radius * np.cos(2.0 * np.pi * hashed_uniform(customer, salt + 1)))


def _person(customer: Ints, portfolio: Portfolio) -> Table:
    return {
        "gender": np.where(hashed_uniform(customer, 0) < 0.47, "female", "male").astype(object),
        "region": choose(portfolio.region, hashed_uniform(customer, 1)),
        "employment": choose(portfolio.employment, hashed_uniform(customer, 2)),
        "home": choose(HOME, hashed_uniform(customer, 3)),
        "months_at_address": np.floor(-55.0 * np.log1p(-hashed_uniform(customer, 4))).clip(0, 480),
    }


def _finances(person: Table, customer: Ints, portfolio: Portfolio, u: Floats, z: Floats) -> Table:
    standing = _normal(customer, 10)
    pay = factor_of(EMPLOYMENT_PAY, person["employment"]) * np.where(person["gender"] == "female", 0.95, 1.04)
    income = portfolio.median_income * pay * np.exp(0.34 * _normal(customer, 12) + 0.10 * standing + 0.06 * z[:, 1])
    bureau = portfolio.bureau_mean + 68.0 * standing + 22.0 * z[:, 2]
    unknown = u[:, 3] < np.where(person["home"] == "family", 0.22, 0.07)
    settled = np.isin(person["employment"], ["retired"])
    years = np.round(-6.5 * np.log1p(-hashed_uniform(customer, 5)), 1).clip(0, 45)
    return {
        "income": np.round(income, 2).clip(600.0, 40_000.0),
        "bureau_score": np.where(unknown, np.nan, np.round(bureau).clip(300, 850)),
        "employment_years": np.where(settled | (u[:, 4] < 0.04), np.nan, years),
        "open_loans": np.floor(-1.3 * np.log1p(-u[:, 5]) * np.exp(-0.15 * standing)).clip(0, 15),
        "inquiries_6m": np.floor(-1.5 * np.log1p(-u[:, 6]) * np.exp(-0.30 * standing + 0.22 * z[:, 0])).clip(0, 25),
        "utilization": np.where(u[:, 7] < 0.08, np.nan, sigmoid(-0.35 - 0.75 * standing + 0.95 * z[:, 3])),
        "channel": choose(portfolio.channel, u[:, 8]),
        "purpose": choose(portfolio.purpose, u[:, 9]),
    }


def _loan(table: Table, u: Floats, z: Floats) -> Table:
    size = factor_of(PURPOSE_SIZE, table["purpose"]) * np.sqrt(table["income"] / 2_350.0)
    amount = (np.round(4_300.0 * size * np.exp(0.52 * z[:, 4]) / 50.0) * 50.0).clip(500.0, 40_000.0)
    step = np.floor(3.0 + 1.5 * np.log(amount / 4_300.0) + 1.1 * z[:, 5]).clip(0, len(TERMS) - 1).astype(np.int64)
    score = np.where(np.isnan(table["bureau_score"]), 610.0, table["bureau_score"])
    rate = 0.118 - 0.00021 * (score - 640.0) + 0.012 * (table["channel"] == "broker") + 0.010 * z[:, 6]
    instalment = amount / TERMS[step] * (1.0 + rate / 2.0)
    debts = table["income"] * sigmoid(-1.7 + 0.55 * z[:, 7]) * (1.0 + 0.12 * table["open_loans"])
    return {
        "amount": amount,
        "term_months": TERMS[step],
        "interest_rate": np.round(rate, 4).clip(0.039, 0.249),
        "debt_to_income": np.round((debts + instalment) / table["income"], 4).clip(0.0, 3.0),
        "has_coapplicant": u[:, 10] < np.where(table["home"] == "mortgage", 0.32, 0.13),
    }


def _behaviour(table: Table, u: Floats, z: Floats) -> Table:
    since = np.floor(20.0 - 240.0 * np.log1p(-u[:, 11]))
    return {
        "days_since_last_loan": np.where(table["new_customer"], np.nan, since.clip(0, 3_650)),
        "phone_verified": u[:, 12] < sigmoid(2.1 - 0.45 * z[:, 0]),
        "direct_deposit": u[:, 13] < np.where(table["new_customer"], 0.34, 0.71),
    }


def sigmoid(x: Floats) -> Floats:
    """The logistic function."""
    return np.asarray(1.0 / (1.0 + np.exp(-x)))
