"""The two real data sets go through the data stages by their YAML alone, and what must be found in them is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gauntlet.core.errors import ContractFailed, DataRejected, LeakageFound
from gauntlet.core.outcome import Outcome
from gauntlet.core.spec import load_spec
from gauntlet.stages.check_contract import check_contract
from gauntlet.stages.check_leakage import check_leakage
from gauntlet.stages.pull_data import pull_data
from gauntlet.stages.split_data import split_data

Make = Callable[..., Any]
EXAMPLES = Path(__file__).parents[3] / "examples"


def through(night: Any) -> Any:
    return [stage(night.services, night.run) for stage in (pull_data, check_contract, split_data, check_leakage)]


def test_bike_demand_goes_through(example_night: Make) -> None:
    dataset, contract, split, leakage = through(example_night("bike_demand"))
    assert dataset.last_event == datetime(2012, 9, 1, tzinfo=UTC)
    assert 8_000 < dataset.rows < 9_000
    assert contract.outcome is Outcome.PASSED
    assert [part.name for part in split.parts] == ["train", "validation", "holdout"]
    assert leakage.outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("features", "named"),
    [(["registered"], "registered (R² 0.9"), (["casual", "registered"], "linear combination of ")],
)
def test_what_adds_up_to_the_bike_count_is_found(example_night: Make, features: list[str], named: str) -> None:
    def leak(document: Any) -> None:
        document["source"]["features"]["numeric"] += features

    with pytest.raises(LeakageFound) as caught:
        through(example_night("bike_demand", change=leak))
    assert named in str(caught.value)


def test_the_clock_before_the_first_bike_is_explained(example_night: Make) -> None:
    night = example_night("bike_demand", datetime(2010, 12, 31, tzinfo=UTC))
    with pytest.raises(DataRejected, match=r"the as-of time 2010-12-31.* lies before the first row, 2011-01-01"):
        pull_data(night.services, night.run)


def test_adult_income_goes_through(example_night: Make) -> None:
    dataset, contract, split, leakage = through(example_night("adult_income"))
    assert dataset.rows == 48_842
    assert contract.outcome is Outcome.PASSED
    assert split.dropped == 0
    assert [part.positives for part in split.parts] == [
        pytest.approx(part.rows * 0.239, rel=0.05) for part in split.parts
    ]
    assert leakage.outcome is Outcome.PASSED


def test_a_broken_adult_contract_shows_no_protected_value(example_night: Make) -> None:
    def narrow(document: Any) -> None:
        document["contract"]["columns"]["race"] = {"values": ["none of these"]}
        document["contract"]["columns"]["age"] = {"maximum": 60}

    night = example_night("adult_income", change=narrow)
    pull_data(night.services, night.run)
    with pytest.raises(ContractFailed) as caught:
        check_contract(night.services, night.run)
    assert "race is one of none of these" in str(caught.value)
    page = next(Path(night.folder / "blobs" / "contracts" / "adult_income").glob("*.html")).read_text()
    for value in ("Asian-Pac-Islander", "Amer-Indian-Eskimo", "White"):
        assert value not in str(caught.value)
        assert value not in page


@pytest.mark.parametrize("name", ["adult_income", "bike_demand"])
def test_examples_load_as_shipped(name: str) -> None:
    spec = load_spec(EXAMPLES / f"{name}.yaml")
    assert spec.model == name
    assert spec.source.uri.startswith("${GAUNTLET_EXAMPLE_DATA}/")
