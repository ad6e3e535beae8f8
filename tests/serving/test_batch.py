"""Whole files get the scores that the server gives row by row: same bits, same policy, out of core, all or nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.serving.control import MODEL
from tests.serving.servers import (
    CATEGORIES,
    ENTITY,
    RunningServer,
    Trained,
    routing,
    running,
    served,
    train,
    write_release,
)
from tests.serving.users import overflowing

from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.adapters.scorer_lightgbm import LightGBMScorers
from gauntlet.core.errors import DataRejected, IntegrityError, SpecError
from gauntlet.core.model_text import tree_digest
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.batch import BatchScores
from gauntlet.core.records.model import Calibration, Task
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.specs.batch import BatchSection
from gauntlet.core.specs.rollout import RolloutSection
from gauntlet.core.specs.serving import InputPolicy, ServingSection
from gauntlet.stages import batch_score as stage

NOW = datetime(2026, 3, 1, 6, tzinfo=UTC)
COUNT_ALL = InputPolicy(
    missing="count", extra="count", null="count", unseen_category="count", wrong_type="count", nan="count"
)


@dataclass
class Clock:
    def now(self) -> datetime:
        return NOW


class Folders:
    """Releases where they were written."""

    def fetch_folder(self, uri: str, _: str) -> Path:
        return Path(uri.removeprefix("file://"))


@dataclass
class Batch:
    """Services around a routing row, and a spec with a policy."""

    folder: Path
    stable: Any
    canary: Any = None
    policy: InputPolicy = field(default_factory=InputPolicy)
    section: BatchSection | None = None

    def __post_init__(self) -> None:
        self.store = MemoryStore(Clock())

    @property
    def services(self) -> Any:
        columns = SimpleNamespace(key=ENTITY, event_time=None, label=None, weight=None)
        spec = SimpleNamespace(
            model=MODEL,
            serving=ServingSection(inputs=self.policy),
            source=SimpleNamespace(columns=columns),
            rollout=RolloutSection(),
            batch_score=self.section,
        )
        row = routing(1, self.stable, self.canary, 100_000 if self.canary else 0)
        return cast(
            "Any",
            SimpleNamespace(
                specs=SimpleNamespace(names=lambda: [MODEL], get=lambda _: spec),
                routing=SimpleNamespace(read=lambda _: row),
                records=self.store.records,
                blobs=Folders(),
                scorers=LightGBMScorers(),
            ),
        )

    def score(self, columns: dict[str, Any], **more: Any) -> tuple[BatchScores, pa.Table]:
        source = self.folder / "in" / "rows.parquet"
        source.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), source, row_group_size=100)
        section = BatchSection(source=str(source), target=str(self.folder / "out"), **more)
        scores = stage.score_files(self.services, MODEL, section, f"{MODEL}/score")
        return scores, pq.read_table(self.folder / "out" / "rows.parquet")


def columns_of(trained: Trained, rows: int | None = None) -> dict[str, Any]:
    chosen = trained.rows[:rows]
    columns: dict[str, Any] = {name: [row[name] for row in chosen] for name in chosen[0]}
    return {ENTITY: [f"c{i}" for i in range(len(chosen))], **columns}


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "ROWS", 64)


@pytest.mark.usefixtures("small_batches")
def test_every_row_has_the_bits_of_booster_predict_and_the_challengers_beside(
    tmp_path: Path, stable: Any, canary: Any, trained: Trained, challenger: Trained
) -> None:
    scores, table = Batch(tmp_path, stable, canary).score(columns_of(trained), keep=("x0",))
    assert table.column("score").to_pylist() == trained.scores(trained.matrix)
    assert table.column("challenger_score").to_pylist() == challenger.scores(trained.matrix)
    assert table.column("decision").to_pylist() == [int(s >= 0.5) for s in trained.scores(trained.matrix)]
    assert set(table.column("version_id").to_pylist()) == {"v-one"}
    assert set(table.column("challenger_version_id").to_pylist()) == {"v-two"}
    assert table.column("x0").to_pylist() == [row["x0"] for row in trained.rows]
    assert table.column(ENTITY).to_pylist()[:2] == ["c0", "c1"]
    assert (scores.rows, scores.rejected, scores.outcome) == (600, 0, Outcome.PASSED)
    assert table.column("rejected").null_count == 600


def awkward(trained: Trained) -> dict[str, Any]:
    columns = columns_of(trained, 8)
    columns["x0"] = [0.5, math.nan, math.inf, 99.0, -99.0, None, 1.0, 2.0]
    columns["home colour"] = ["blue", "mauve", None, "red", "green", "", "BLUE", "red"]
    columns["member"] = [True, False, None, True, False, True, None, True]
    columns["surprise"] = list(range(8))
    return columns


def answers(server: RunningServer, columns: dict[str, Any]) -> list[dict[str, Any] | None]:
    import json

    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    found = []
    for row in rows:
        # As Python's json writes it: NaN and Infinity as literals.
        body = json.dumps({"row": row}).encode()
        answer = server.client.post(f"/v1/models/{MODEL}/predict", content=body)
        found.append(answer.json() if answer.status_code == 200 else None)
    return found


@pytest.mark.parametrize("policy", [COUNT_ALL, InputPolicy(), InputPolicy(unseen_category="reject", null="count")])
def test_the_live_server_answers_and_refuses_the_same_rows_with_the_same_scores(
    tmp_path: Path, stable: Any, trained: Trained, policy: InputPolicy
) -> None:
    columns = awkward(trained)
    _, table = Batch(tmp_path, stable, policy=policy).score(columns, max_rejected_share=1.0)
    with running(tmp_path, ready=False, serving=ServingSection(inputs=policy)) as server:
        server.apply(routing(1, stable))
        answered = answers(server, columns)
        wanted = server.client.get("/metrics").text
    assert table.column("score").to_pylist() == [one and one["score"] for one in answered]
    assert table.column("decision").to_pylist() == [one and one["decision"] for one in answered]
    assert [one is None for one in answered] == [reason is not None for reason in table.column("rejected").to_pylist()]
    if policy is COUNT_ALL:
        scores = Batch(tmp_path / "again", stable, policy=policy)
        scores.folder.mkdir()
        for what, count in scores.score(columns)[0].deviations.items():
            feature, kind = what.rsplit(" ", 1)
            shown = "*" if kind == "extra" else feature
            line = f'gauntlet_input_deviations_total{{model="{MODEL}",feature="{shown}",kind="{kind}"}} {count}'
            assert line in wanted


def test_a_missing_column_rejects_every_row_or_counts_as_null(tmp_path: Path, stable: Any, trained: Trained) -> None:
    columns = columns_of(trained, 10)
    del columns["x1"]
    batch = Batch(tmp_path, stable)
    with pytest.raises(DataRejected, match=r"10 rejected .*x1 missing: 10"):
        batch.score(columns)
    stored = batch.store.records.get(f"{MODEL}/score", BatchScores)
    assert (stored.outcome, stored.rejected) == (Outcome.FAILED, 10)
    batch.policy = COUNT_ALL
    scores, table = batch.score(columns)
    matrix = trained.matrix[:10].copy()
    matrix[:, 1] = np.nan
    assert table.column("score").to_pylist() == trained.scores(matrix)
    assert scores.deviations == {"x1 missing": 10}


def test_a_column_of_another_type_is_a_deviation_of_every_row(tmp_path: Path, stable: Any, trained: Trained) -> None:
    columns = columns_of(trained, 5) | {"x2": ["much"] * 5}
    with pytest.raises(DataRejected, match="x2 wrong_type: 5"):
        Batch(tmp_path, stable).score(columns)


def test_nothing_to_score_is_no_success(tmp_path: Path, stable: Any, trained: Trained) -> None:
    batch = Batch(tmp_path, stable)
    with pytest.raises(DataRejected, match="no Parquet file"):
        stage.score_files(batch.services, MODEL, BatchSection(source="/nowhere", target="/else"), "k")
    empty = {name: pa.array([], pa.float64()) for name in columns_of(trained, 1)}
    with pytest.raises(DataRejected, match="nothing was scored"):
        batch.score(empty)
    batch.stable = None
    with pytest.raises(DataRejected, match="no champion"):
        batch.score(columns_of(trained, 3))


def test_a_file_of_scores_appears_whole_or_not_at_all(tmp_path: Path, stable: Any, trained: Trained) -> None:
    batch = Batch(tmp_path, stable)
    _, first = batch.score(columns_of(trained))
    source = tmp_path / "in" / "rows.parquet"
    source.write_bytes(source.read_bytes()[:-100])
    section = BatchSection(source=str(source), target=str(tmp_path / "out"))
    with pytest.raises(IntegrityError, match="cannot be read"):
        stage.score_files(batch.services, MODEL, section, "k")
    assert pq.read_table(tmp_path / "out" / "rows.parquet").equals(first)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rows.parquet"]


def test_a_second_try_of_a_run_writes_the_same_bytes_and_one_record(
    tmp_path: Path, stable: Any, trained: Trained
) -> None:
    source = tmp_path / "2026-03-01"
    source.mkdir()
    for name in ("a", "b"):
        pq.write_table(pa.table(columns_of(trained, 50)), source / f"{name}.parquet")
    section = BatchSection(source=f"{tmp_path}/{{date}}", target=f"{tmp_path}/scores/{{date}}")
    batch = Batch(tmp_path, stable, section=section)
    run = RunContext(
        model=MODEL,
        run="night",
        as_of=NOW,
        kind=TriggerKind.SCHEDULE,
        reason="on schedule",
        requested_by="airflow",
        force_retrain=False,
        spec_digest="d",
        opened_at=NOW,
    )
    first = stage.batch_score(batch.services, run)
    assert stage.batch_score(batch.services, run) == first
    assert [Path(one.target).parent.name for one in first.files] == ["2026-03-01", "2026-03-01"]
    assert len(batch.store.records.past(run.key, BatchScores)) == 1
    batch.section = None
    with pytest.raises(SpecError, match="batch_score"):
        stage.batch_score(batch.services, run)


def test_multiclass_and_calibrated_scores_are_the_servers(tmp_path: Path) -> None:
    multi = train(5, task=Task.MULTICLASS, trees=4)
    calibrated = train(6, calibration=Calibration(method="isotonic", x=(0.1, 0.4, 0.8), y=(0.02, 0.2, 0.93)))
    several = served(write_release(tmp_path / "multi", multi, "v-multi"), 1)
    one = served(write_release(tmp_path / "cal", calibrated, "v-cal"), 2)
    _, table = Batch(tmp_path, several).score(columns_of(multi, 50))
    expected = multi.scores(multi.matrix[:50])
    assert table.column("scores").to_pylist() == expected
    assert table.column("score").to_pylist() == [max(row) for row in expected]
    names = ("low", "mid", "top")
    assert table.column("decision").to_pylist() == [names[row.index(max(row))] for row in expected]
    _, table = Batch(tmp_path, one).score(columns_of(calibrated, 50))
    with running(tmp_path, ready=False) as server:
        server.apply(routing(1, one))
        got = [row["score"] for row in server.predict_rows(calibrated.rows[:50]).json()["predictions"]]
    assert table.column("score").to_pylist() == got


def test_a_champion_that_scores_what_no_model_may_gives_no_score(tmp_path: Path) -> None:
    broken, finite = overflowing(4)
    golden = replace(broken, rows=[broken.rows[i] for i in finite], matrix=broken.matrix[finite])
    text = broken.booster.model_to_string().encode()
    release = write_release(tmp_path / "broken", golden, "v-broken", text=text, tree_digest=tree_digest(text))
    scores, table = Batch(tmp_path, served(release, 1)).score(columns_of(broken), max_rejected_share=0.9)
    assert scores.rejected == len(broken.rows) - len(finite) > 0
    good = [place for place, score in enumerate(table.column("score").to_pylist()) if score is not None]
    assert good == finite
    assert set(table.column("rejected").to_pylist()) == {None, "score invalid"}


def test_categories_in_a_dictionary_column_score_alike(tmp_path: Path, stable: Any, trained: Trained) -> None:
    columns = columns_of(trained, 40)
    columns["home colour"] = pa.array(columns["home colour"]).dictionary_encode()
    _, table = Batch(tmp_path, stable).score(columns)
    assert table.column("score").to_pylist() == trained.scores(trained.matrix[:40])
    assert CATEGORIES


def test_the_command_scores_a_folder_and_says_what_it_found(
    tmp_path: Path, stable: Any, canary: Any, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from gauntlet.cli.app import app

    batch = Batch(tmp_path, stable, canary)
    monkeypatch.setattr("gauntlet.bootstrap.services", lambda: batch.services)
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table(columns_of(trained, 20) | {"surprise": [1] * 20}), tmp_path / "in" / "rows.parquet")
    done = CliRunner().invoke(app, ["score", MODEL, str(tmp_path / "in"), str(tmp_path / "out"), "--keep", "surprise"])
    assert done.exit_code == 0, done.output
    assert "20 of 20 rows scored" in done.output
    assert "version v-two" in done.output
    table = pq.read_table(tmp_path / "out" / "rows.parquet")
    assert table.column("score").to_pylist() == trained.scores(trained.matrix[:20])
    assert table.column("surprise").to_pylist() == [1] * 20
    pq.write_table(pa.table(columns_of(trained, 20) | {"x0": [None] * 20}), tmp_path / "in" / "rows.parquet")
    refused = CliRunner().invoke(app, ["score", MODEL, str(tmp_path / "in"), str(tmp_path / "out")])
    assert refused.exit_code == 1
    assert "x0" in refused.output
