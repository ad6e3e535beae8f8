"""A real model server, started for one release: what it tells, and that nothing of it stays."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.mutations.world import good, spec
from tests.serving.control import MODEL
from tests.serving.servers import Trained, train, write_release

from gauntlet.adapters import server_trial
from gauntlet.adapters.server_trial import ServerTrials
from gauntlet.core.errors import InfrastructureError
from gauntlet.core.gates.infra_validation import observed
from gauntlet.core.gates.judge import judge_gate
from gauntlet.core.ports import Trial
from gauntlet.core.records.model import GoldenSet, Task

SPEC = spec().model_copy(update={"model": MODEL})


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train()


def judged(trial: Trial, golden: GoldenSet):
    """The gate's verdict on a trial."""
    found = tuple(observed(trial, golden.scores, len(golden.rows)))
    return judge_gate("infra_validation", replace(good("infra_validation"), observations=found))


def golden_of(folder: Path) -> GoldenSet:
    return GoldenSet.model_validate_json((folder / "golden.json").read_bytes())


def servers() -> set[int]:
    """Model servers that this test process has started and that still run."""
    return {child.pid for child in psutil.Process().children(recursive=True) if "gauntlet" in " ".join(child.cmdline())}


@pytest.fixture(autouse=True)
def _nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # An installation of its own, which a trial must not touch.
    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path / "installation"))
    monkeypatch.setenv("GAUNTLET_DATABASE_URL", f"sqlite:///{tmp_path}/no/such/folder.db")
    monkeypatch.setenv("GAUNTLET_SERVER_TOKEN", "of the installation")
    before = servers()  # Other tests of this process may keep theirs.
    yield
    assert not (tmp_path / "installation").exists()
    assert servers() <= before


def test_a_good_release_is_served_right_and_in_time(trained: Trained, tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", trained, "v_good")
    golden = golden_of(tmp_path / "release")
    trial = ServerTrials().run(SPEC, release, tmp_path / "release", golden.rows, 120)
    assert trial.problem is None
    assert trial.scores == golden.scores
    assert (trial.requests, len(trial.latencies_ms)) == (120, 120)
    assert trial.load_seconds is not None
    assert trial.rss_mb is not None
    assert trial.rss_mb > 20
    verdict = judged(trial, golden)
    # 120 requests are fewer than the gate wants; everything else holds.
    assert verdict.outcome == "failed"
    assert verdict.reason.startswith("http_requests 120 < 300")
    assert [item.metric for item in verdict.measurements if item.outcome != "passed"] == ["http_requests"]


@pytest.mark.parametrize("task", [Task.REGRESSION, Task.MULTICLASS])
def test_other_tasks_are_served_with_the_scores_of_training(task: Task, tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", train(task=task), "v_other")
    golden = golden_of(tmp_path / "release")
    trial = ServerTrials().run(SPEC, release, tmp_path / "release", golden.rows, 100)
    assert (trial.problem, trial.scores) == (None, golden.scores)


def test_a_release_with_other_scores_than_training_is_refused(trained: Trained, tmp_path: Path) -> None:
    wrong = tuple(score + 0.01 for score in trained.scores(trained.matrix[:20]))
    release = write_release(tmp_path / "release", trained, "v_wrong", golden_scores=wrong)
    golden = golden_of(tmp_path / "release")
    trial = ServerTrials().run(SPEC, release, tmp_path / "release", golden.rows, 100)
    assert trial.load_seconds is None
    assert "the server refuses it" in str(trial.problem)
    verdict = judged(trial, golden)
    assert verdict.outcome == "failed"
    assert "golden row 0" in verdict.reason


def test_a_server_that_does_not_start_is_no_verdict(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = write_release(tmp_path / "release", trained, "v_good")
    broken = server_trial._environment  # the one place where the child's settings are chosen

    def elsewhere(*arguments: Path) -> dict[str, str]:
        return broken(*arguments) | {"GAUNTLET_SERVER_WORKERS": "no number"}

    monkeypatch.setattr(server_trial, "_environment", elsewhere)
    with pytest.raises(InfrastructureError, match="did not start"):
        ServerTrials().run(SPEC, release, tmp_path / "release", (), 100)


def test_a_release_without_golden_rows_has_not_been_asked(tmp_path: Path) -> None:
    nothing = GoldenSet(rows=(), scores=(), tolerance=0)
    assert not judged(Trial(load_seconds=1.0, rss_mb=1.0), nothing).outcome.satisfied


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"latencies_ms": (1.0,) * 299}, "unanswered 1 > 0"),
        ({"scores": (0.1, None)}, "score_change is nothing"),
        ({"scores": (0.1,)}, "score_change is nothing"),
        ({"scores": (0.1, 0.21)}, "score_change 0.010 > 1e-09"),
        ({"latencies_ms": (1.0,) * 290 + (900.0,) * 10}, "http_p99_ms 900 > 500"),
        ({"latencies_ms": ()}, "unanswered 300 > 0"),
        ({"rss_mb": None}, "server_rss_mb is nothing"),
        ({"rss_mb": 5e4}, "server_rss_mb 50 000 > 1 000"),
        ({"load_seconds": 61.0}, "load_seconds 61 > 60"),
        ({"problem": "request 7: ReadTimeout"}, "request 7: ReadTimeout"),
    ],
)
def test_each_thing_that_can_be_wrong_is_told(changes, why) -> None:
    trial = {
        "scores": (0.1, 0.2),
        "load_seconds": 1.0,
        "latencies_ms": (1.0,) * 300,
        "requests": 300,
        "rss_mb": 100.0,
    }
    golden = GoldenSet(rows=({"x": 1.0}, {"x": 2.0}), scores=(0.1, 0.2), tolerance=1e-9)

    def told(**given):
        found = tuple(observed(Trial(**given), golden.scores, len(golden.rows)))
        gates = {"infra_validation": {"minimum_rows": 2}}
        return judge_gate("infra_validation", replace(good("infra_validation", gates=gates), observations=found))

    assert told(**trial).outcome == "passed"
    verdict = told(**trial | changes)
    assert not verdict.outcome.satisfied
    assert why in verdict.reason


def test_the_trial_runs_where_the_installation_does_not(tmp_path: Path) -> None:
    given = server_trial._environment(tmp_path / "h", tmp_path / "m", tmp_path / "s")
    ours = {name for name in given if name.startswith("GAUNTLET_")}
    assert "GAUNTLET_DATABASE_URL" in os.environ
    assert ours == {
        "GAUNTLET_HOME",
        "GAUNTLET_MODELS",
        "GAUNTLET_SERVER_ADMIN",
        "GAUNTLET_SERVER_TOKEN",
        "GAUNTLET_SERVER_WORKERS",
    }
