"""The exploration reserve: who is drawn, what is decided, and with what probability."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.errors import SpecError
from gauntlet.core.exploration import Explorer
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import PPM
from gauntlet.core.routing import Splitter
from gauntlet.core.spec import exploration_complaints, load_spec
from gauntlet.core.specs.serving import ExplorationSection

MODELS = Path(__file__).parents[2] / "include" / "models"
N = 20_000


def section(share: float = 0.05, **said: Any) -> ExplorationSection:
    return ExplorationSection(share=share, **said)


def reserve(explorer: Explorer, count: int = N) -> set[int]:
    return {unit for unit in range(count) if explorer.draw(f"c{unit}", 0).explored}


def apart(seen: int, expected: float) -> float:
    """In standard deviations of a Poisson count."""
    return abs(seen - expected) / expected**0.5


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05])
def test_the_share_is_kept(share: float) -> None:
    assert apart(len(reserve(Explorer(section(share), "m", 2))), share * N) < 4


def test_the_same_seed_draws_the_same_in_every_process() -> None:
    code = (
        "from gauntlet.core.exploration import Explorer\n"
        "from gauntlet.core.specs.serving import ExplorationSection\n"
        "e = Explorer(ExplorationSection(share=0.05), 'm', 2)\n"
        "print([u for u in range(2000) if e.draw(f'c{u}', 0).explored])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(sorted(reserve(Explorer(section(), "m", 2), 2000)))


def test_another_seed_or_model_draws_others() -> None:
    ours = reserve(Explorer(section(), "m", 2))
    for other in (Explorer(section(seed="other"), "m", 2), Explorer(section(), "n", 2)):
        assert apart(len(ours & reserve(other)), 0.05**2 * N) < 4


def test_a_larger_share_keeps_who_was_drawn_and_what_they_were_given() -> None:
    small, large = Explorer(section(0.01), "m", 2), Explorer(section(0.05), "m", 2)
    for unit in reserve(small):
        assert small.draw(f"c{unit}", 0).decision == large.draw(f"c{unit}", 0).decision
    assert reserve(small) < reserve(large)


def test_it_knows_nothing_of_the_canarys_split() -> None:
    """Even with the split's salt for a seed, the reserve meets the canary as often as everybody does."""
    split, explorer = Splitter("salt"), Explorer(section(seed="salt"), "m", 2)
    canary = sum(split.bucket(f"c{unit}") < PPM // 10 for unit in reserve(explorer))
    assert apart(canary, 0.05 * N / 10) < 4


@pytest.mark.parametrize("decisions", [2, 3, 7])
@pytest.mark.parametrize("own", [0, 1])
def test_every_decision_is_given_as_often_as_its_propensity_says(decisions: int, own: int) -> None:
    explorer = Explorer(section(), "m", decisions)
    draws = [explorer.draw(f"c{unit}", own) for unit in range(N)]
    for decision in range(decisions):
        told = explorer.propensity(decision, own)
        assert apart(sum(draw.decision == decision for draw in draws), told * N) < 4
    assert all(draw.propensity == explorer.propensity(draw.decision, own) for draw in draws)


@given(st.floats(1e-6, 0.05), st.sampled_from(["random", "positive", "negative"]), st.integers(0, 1))
def test_propensities_sum_to_one(share: float, decide: Any, own: int) -> None:
    explorer = Explorer(section(share, decide=decide), "m", 2)
    assert explorer.propensity(0, own) + explorer.propensity(1, own) == pytest.approx(1)


def test_who_is_not_drawn_keeps_the_models_decision() -> None:
    explorer = Explorer(section(decide="positive"), "m", 2)
    assert {draw for unit in range(2000) if not (draw := explorer.draw(f"c{unit}", 1)).explored} == {(False, 1, 1.0)}


def test_weighting_by_propensity_tells_what_another_policy_is_worth() -> None:
    """The model refuses everybody; what accepting all would have earned is seen in the reserve alone."""
    explorer = Explorer(section(decide="negative"), "m", 2)
    worth = [1.0 if unit % 4 else -2.0 for unit in range(N)]
    given = [explorer.draw(f"c{unit}", 1) for unit in range(N)]
    seen = sum(value / draw.propensity for value, draw in zip(worth, given, strict=True) if draw.decision == 0)
    spread = (sum(value**2 for value in worth) / 0.05) ** 0.5
    assert abs(seen - sum(worth)) < 4 * spread


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 0.06}, r"serving\.exploration\.share"),
        ({"share": 0.0}, r"serving\.exploration\.share"),
        ({"share": 0.01, "decide": "maybe"}, r"serving\.exploration\.decide"),
        ({"share": 0.01, "seed": ""}, r"serving\.exploration\.seed"),
        ({}, r"serving\.exploration\.share: missing"),
    ],
)
def test_what_is_no_reserve_is_refused_by_its_key(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_spec(written(tmp_path, change))


def written(tmp_path: Path, exploration: dict[str, Any]) -> Path:
    document = yaml.safe_load((MODELS / "credit_default.yaml").read_text())
    document["serving"] = {"exploration": exploration}
    path = tmp_path / "credit_default.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("task", "decide", "message"),
    [
        ("regression", "random", "a regression takes no decision"),
        ("multiclass", "positive", "use random"),
        ("binary", "random", "without training.threshold"),
    ],
)
def test_a_model_without_such_decisions_has_none(tmp_path: Path, task: str, decide: str, message: str) -> None:
    """As loading a spec asks; a whole spec of each task would be refused for other reasons as well."""
    spec = load_spec(written(tmp_path, {"share": 0.01, "decide": decide}))
    training = spec.training.model_copy(update={"threshold": None})
    (complaint,) = exploration_complaints(spec.model_copy(update={"task": Task(task), "training": training}))
    assert complaint.startswith("serving.exploration")
    assert message in complaint


def test_a_regression_is_refused_as_it_is_read(tmp_path: Path) -> None:
    document = yaml.safe_load((MODELS / "credit_default.yaml").read_text())
    document |= {"task": "regression", "serving": {"exploration": {"share": 0.01}}}
    document["training"] |= {"threshold": None, "calibration": "none"}
    document["gates"] = {name: "off: no part of this test" for name in document["gates"]}
    path = tmp_path / "credit_default.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(SpecError, match=r"serving\.exploration: a regression takes no decision"):
        load_spec(path)


def test_it_is_off_unless_a_spec_asks() -> None:
    assert load_spec(MODELS / "credit_default.yaml").serving.exploration is None
