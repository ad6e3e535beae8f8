"""Scoring: one row, a table and a file agree bit for bit, and nothing damaged is ever loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.adapters.lightgbm.conftest import seal

from gauntlet.adapters import scorer_child
from gauntlet.adapters.scorer_lightgbm import LightGBMScorer, LightGBMScorers, load_in_child, read_release
from gauntlet.core.calibration import calibrate
from gauntlet.core.digest import sha256_bytes
from gauntlet.core.encoding import encode_table
from gauntlet.core.errors import GauntletError, IntegrityError

Copy = Callable[[str], Path]
TASKS = ("binary", "regression", "multiclass")


def here(folder: Path) -> LightGBMScorer:
    """Loaded without a process that is sacrificed first."""
    return LightGBMScorer(folder).load(sacrifice=False)


@pytest.mark.parametrize("task", TASKS)
def test_row_table_file_and_booster_agree_bit_for_bit(made: dict[str, Path], task: str) -> None:
    scorer = here(made[task])
    file = made[task].parent / "snapshot.parquet"
    table = pq.read_table(file).slice(0, 500)
    together = scorer.score_table(table)
    assert scorer.score_table(file)[:500].tobytes() == together.tobytes()
    assert scorer.score_rows(table.to_pylist()).tobytes() == together.tobytes()
    booster = lgb.Booster(model_file=str(made[task] / "model.txt"))
    raw = np.asarray(booster.predict(encode_table(scorer.sidecar.features, table)))
    calibration = scorer.sidecar.calibration
    assert np.array_equal(together, calibrate(calibration, raw) if calibration else raw)
    assert together.shape == ((500, 3) if task == "multiclass" else (500,))


def test_columns_are_found_by_name(made: dict[str, Path]) -> None:
    scorer = here(made["binary"])
    table = pq.read_table(made["binary"].parent / "snapshot.parquet").slice(0, 50)
    shuffled = table.select(sorted(table.column_names, reverse=True)).append_column("more", pa.array(range(50)))
    assert np.array_equal(scorer.score_table(shuffled), scorer.score_table(table))
    with pytest.raises(GauntletError, match="net income"):
        scorer.score_table(table.drop_columns(["net income"]))
    with pytest.raises(GauntletError, match="'steps' is missing"):
        scorer.score_rows([{"x": 1.0, "net income": 2.0}])


def test_no_rows_give_no_scores(made: dict[str, Path]) -> None:
    table = pq.read_table(made["binary"].parent / "snapshot.parquet").slice(0, 0)
    assert here(made["binary"]).score_table(table).shape == (0,)
    assert here(made["multiclass"]).score_table(table).shape == (0, 3)
    assert here(made["multiclass"]).score_rows([]).shape[0] == 0


def test_a_closed_or_unloaded_model_scores_nothing(made: dict[str, Path]) -> None:
    with pytest.raises(GauntletError, match="not loaded"):
        LightGBMScorer(made["binary"]).score_rows([{}])
    scorer = here(made["binary"])
    scorer.close()
    scorer.close()
    with pytest.raises(GauntletError, match="not loaded"):
        scorer.score_rows([{}])


# ---- damage ----------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["model.txt", "sidecar.json", "golden.json"])
@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_changed_file_is_refused_by_name(copy: Copy, name: str, damage: Callable[[Path], None]) -> None:
    folder = copy("binary")
    damage(folder / name)
    with pytest.raises(IntegrityError, match=re.escape(name)):
        read_release(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"files": {}}', b'{"files": {"model.txt": "0"}}'])
def test_a_manifest_that_is_none_is_refused(copy: Copy, content: bytes) -> None:
    folder = copy("binary")
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(IntegrityError):
        read_release(folder)


def recorded(folder: Path, text: bytes) -> Path:
    """A release that says of a damaged text that this is how it must be: digests cannot find it."""
    (folder / "model.txt").write_bytes(text)
    sidecar = json.loads((folder / "sidecar.json").read_bytes())
    from gauntlet.core.model_text import tree_digest

    sidecar |= {"model_sha256": sha256_bytes(text), "tree_digest": tree_digest(text)}
    (folder / "sidecar.json").write_text(json.dumps(sidecar))
    return seal(folder)


def test_a_truncated_text_with_matching_digests_is_found_by_its_structure(copy: Copy) -> None:
    folder = copy("binary")
    text = (folder / "model.txt").read_bytes()
    for cut in range(100, len(text), len(text) // 9):
        with pytest.raises(IntegrityError, match="model text"):
            read_release(recorded(folder, text[:cut]))


def test_wrong_numbers_with_matching_digests_are_found_by_golden_rows(copy: Copy) -> None:
    folder = copy("regression")
    text = (folder / "model.txt").read_text()
    first = re.search(r"leaf_value=(\S+)", text)
    assert first is not None
    wrong = text.replace(first[0], f"leaf_value={float(first[1]) + 0.5!r}", 1)
    blocks = re.split(r"(?=^Tree=\d+$)", wrong.partition("end of tree")[0], flags=re.MULTILINE)[1:]
    wrong = re.sub(r"tree_sizes=[\d ]+", "tree_sizes=" + " ".join(str(len(block)) for block in blocks), wrong, count=1)
    recorded(folder, wrong.encode())
    read_release(folder)
    with pytest.raises(IntegrityError, match="golden row"):
        load_in_child(folder)


def test_swapped_categories_are_found_by_golden_rows(copy: Copy) -> None:
    folder = copy("binary")
    sidecar = json.loads((folder / "sidecar.json").read_bytes())
    kind = next(feature for feature in sidecar["features"] if feature["name"] == "kind")
    kind["categories"].reverse()
    (folder / "sidecar.json").write_text(json.dumps(sidecar))
    with pytest.raises(IntegrityError, match="golden row"):
        load_in_child(seal(folder))


def test_a_release_is_sacrificed_to_once(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []
    monkeypatch.setattr("gauntlet.adapters.scorer_lightgbm.load_in_child", calls.append)
    scorers = LightGBMScorers()
    for _ in range(2):
        scorers.load(made["binary"])
    scorers.load(made["regression"])
    assert calls == [made["binary"], made["regression"]]


def test_a_process_that_dies_loading_is_a_refusal(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gauntlet.adapters.scorer_lightgbm.CHILD", ("/bin/sh", "-c", "kill -ABRT $$"))
    with pytest.raises(IntegrityError, match="SIGABRT"):
        load_in_child(made["binary"])
    (check,) = LightGBMScorers().probe(made["binary"], None).checks
    assert (check.name, check.passed) == ("load", False)
    assert "SIGABRT" in check.detail


# ---- the probe -------------------------------------------------------------------------------------


def outcome(found: dict[str, object]) -> dict[str, bool]:
    checks = found["checks"]
    assert isinstance(checks, list)
    return {check["name"]: check["passed"] for check in checks}


@pytest.mark.parametrize("task", TASKS)
def test_a_good_release_passes_all_ten(made: dict[str, Path], task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer_child, "TIMED", 50)
    found = scorer_child.probe(made[task], made[task])
    assert len(outcome(found)) == 10
    assert all(outcome(found).values()), found["checks"]
    for key in ("candidate_latency", "champion_latency"):
        profile = found[key]
        assert profile["n"] == 50
        assert 0 < profile["p50_us"] <= profile["p95_us"] <= profile["p99_us"] <= profile["max_us"]
    assert found["load_seconds"] > 0


def test_a_damaged_release_fails_by_name_and_the_rest_is_not_reached(copy: Copy) -> None:
    folder = copy("binary")
    flip(folder / "model.txt")
    found = outcome(scorer_child.probe(folder, None))
    assert not any(found[name] for name in ("load", "infer", "output_valid", "batch", "latency"))
    assert found["missing_model_file"]
    assert found["predict_before_load"]


def scores_of(scorer: LightGBMScorer, values: list[float]) -> LightGBMScorer:
    """The scorer with made-up scores for its golden rows."""
    scorer.score_rows = lambda rows: np.array(values)  # type: ignore[method-assign]
    return scorer


@pytest.mark.parametrize(
    ("values", "said"), [([0.1, np.nan], "NaN"), ([0.1, 1.5], "outside"), ([0.2, 0.2], "constant")]
)
def test_outputs_that_no_model_may_give(made: dict[str, Path], values: list[float], said: str) -> None:
    with pytest.raises(scorer_child.CheckFailed, match=said):
        scorer_child.check_output(scores_of(here(made["binary"]), values))


def test_a_batch_that_differs_from_its_rows_is_found(made: dict[str, Path]) -> None:
    scorer = here(made["binary"])
    real = scorer.score_table
    scorer.score_table = lambda table: np.nextafter(real(table), 1)  # type: ignore[method-assign]
    with pytest.raises(scorer_child.CheckFailed, match="differ"):
        scorer_child.check_batch(scorer)


def test_the_probing_process_answers_in_json(made: dict[str, Path]) -> None:
    found = LightGBMScorers().probe(made["binary"], made["regression"])
    assert all(check.passed for check in found.checks)
    assert found.champion_latency is not None
    assert found.rss_mb is not None
    assert found.rss_mb < 500
