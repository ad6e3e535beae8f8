"""Pull, contract, split and leakage on a night, as the pipeline runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.adapters.data.applications import AS_OF, applications, replace

from gauntlet.core.errors import ContractFailed, DataRejected, IntegrityError, LeakageFound, MissingRecord
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import ContractReport, DatasetRef, LeakageReport, SplitManifest
from gauntlet.core.splits import PARTS
from gauntlet.stages.check_contract import check_contract
from gauntlet.stages.check_leakage import check_leakage
from gauntlet.stages.pull_data import pull_data, pull_window
from gauntlet.stages.snapshot import read_parts, read_snapshot
from gauntlet.stages.split_data import split_data

Make = Callable[..., Any]


def path_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def test_a_good_night_goes_through(loans_night: Make) -> None:
    night = loans_night()
    dataset = pull_data(night.services, night.run)
    assert check_contract(night.services, night.run).outcome is Outcome.PASSED
    split = split_data(night.services, night.run)
    assert check_leakage(night.services, night.run).outcome is Outcome.PASSED
    assert [part.name for part in split.parts] == ["train", "validation", "calibration", "holdout"]
    assert sum(part.rows for part in split.parts) + split.dropped == dataset.rows == 600
    for kind in (DatasetRef, ContractReport, SplitManifest, LeakageReport):
        assert night.services.records.find(night.run.key, kind) is not None
    assert list((night.folder / "scratch").iterdir()) == []


def test_running_again_changes_nothing(loans_night: Make) -> None:
    night = loans_night()

    def once() -> list[Any]:
        return [stage(night.services, night.run) for stage in (pull_data, check_contract, split_data, check_leakage)]

    first = once()
    files = sorted(path for path in (night.folder / "blobs").rglob("*") if path.is_file())
    entries = len(night.services.audit.entries())
    assert once() == first
    assert sorted(path for path in (night.folder / "blobs").rglob("*") if path.is_file()) == files
    assert len(night.services.audit.entries()) == entries


def test_the_snapshot_is_addressed_by_content_and_has_a_manifest(loans_night: Make) -> None:
    night = loans_night()
    dataset = pull_data(night.services, night.run)
    path = path_of(dataset.uri)
    assert path.relative_to(night.folder / "blobs") == Path(f"snapshots/loans/{dataset.sha256}.parquet")
    manifest = json.loads(path.with_suffix(".json").read_text())
    assert manifest["sha256"] == dataset.sha256
    assert manifest["rows"] == dataset.rows
    later = pull_window(night.services, night.spec, None, AS_OF.replace(hour=5), labelled=True)
    assert later.sha256 == dataset.sha256, "a later pull of the same rows is the same snapshot"


def test_the_window_is_the_specs(loans_night: Make) -> None:
    night = loans_night(**{"source.window": "10d"})
    dataset = pull_data(night.services, night.run)
    assert dataset.window_start == AS_OF.replace(month=1, day=22)
    assert dataset.first_event is not None
    assert dataset.first_event > dataset.window_start


def test_a_changed_snapshot_is_refused(loans_night: Make) -> None:
    night = loans_night()
    path = path_of(pull_data(night.services, night.run).uri)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for stage in (check_contract, split_data):
        with pytest.raises(IntegrityError, match="the bytes have changed"):
            stage(night.services, night.run)


def test_a_stage_out_of_turn_says_what_is_missing(loans_night: Make) -> None:
    night = loans_night()
    with pytest.raises(MissingRecord, match="DatasetRef"):
        check_contract(night.services, night.run)


def test_a_broken_feed_is_stored_and_raised(loans_night: Make) -> None:
    night = loans_night(replace(applications(), {"amount": [-1.0] * 600}))
    pull_data(night.services, night.run)
    for _ in range(2):
        with pytest.raises(
            ContractFailed, match=r"\[amount lies at or above 0.0\] not so in 600 of 600 rows.*contract"
        ):
            check_contract(night.services, night.run)
    report = night.services.records.get(night.run.key, ContractReport)
    assert report.outcome is Outcome.FAILED
    assert path_of(report.page_uri).exists()
    assert list(path_of(report.page_uri).parent.glob("*.suite.json"))


def test_the_split_file_has_one_part_per_row(loans_night: Make) -> None:
    night = loans_night(**{"split.embargo": "2h"})
    dataset = pull_data(night.services, night.run)
    split = split_data(night.services, night.run)
    parts = pq.read_table(path_of(split.uri), page_checksum_verification=True).column("part")
    assert pa.types.is_dictionary(parts.type)
    assert len(parts) == dataset.rows
    codes = read_parts(night.services, split)
    assert [PARTS[code] for code in codes] == parts.to_pylist()
    table = read_snapshot(night.services, dataset)
    entities = np.array(table.column("customer").to_pylist())
    kept = codes != PARTS.index("dropped")
    assert all(len(set(codes[kept & (entities == name)])) <= 1 for name in set(entities))
    holdout = split.parts[-1]
    assert holdout.positives == sum(table.column("defaulted").to_numpy()[codes == 3])
    assert holdout.last_event == dataset.last_event
    assert split.dropped == int((~kept).sum()) > 0
    assert "in an embargo" in split.dropped_reason


def test_a_random_split_keeps_equal_rows_together(loans_night: Make) -> None:
    changes = {
        "split": {"kind": "random"},
        "source.columns.event_time": None,
        "source.columns.known_at": None,
        "source.columns.entity": None,
        "source.columns.key": None,
    }
    night = loans_night(pa.concat_tables([applications()] * 3), **changes)
    dataset = pull_data(night.services, night.run)
    assert dataset.rows == 1_800
    split = split_data(night.services, night.run)
    assert split.strategy.startswith("random by feature row")
    assert check_leakage(night.services, night.run).outcome is Outcome.PASSED


def test_an_impossible_split_is_explained(loans_night: Make) -> None:
    night = loans_night(replace(applications(), {"customer": ["the same"] * 600}))
    pull_data(night.services, night.run)
    lost = (
        r"leaves no rows for train and validation and calibration \(dropped: \d+ of entities .*split\.entities: allow"
    )
    with pytest.raises(DataRejected, match=lost):
        split_data(night.services, night.run)
    night = loans_night(replace(applications(), {"defaulted": [1] * 100 + [0] * 500}))
    pull_data(night.services, night.run)
    with pytest.raises(DataRejected, match="validation has no positive row among"):
        split_data(night.services, night.run)


def test_a_leaking_feature_is_named_and_stored(loans_night: Make) -> None:
    table = applications()
    leaked = [value * 10.0 for value in table.column("defaulted").to_pylist()]
    night = loans_night(replace(table, {"open_loans": leaked}))
    pull_data(night.services, night.run)
    split_data(night.services, night.run)
    with pytest.raises(LeakageFound, match=r"one feature alone predicts the label: open_loans \(AUC 1\.000\)"):
        check_leakage(night.services, night.run)
    assert night.services.records.get(night.run.key, LeakageReport).outcome is Outcome.FAILED


def test_allowed_straddling_is_waived_not_hidden(loans_night: Make) -> None:
    owners = [f"c{i % 50}" for i in range(600)]
    night = loans_night(replace(applications(), {"customer": owners}), **{"split.entities": "allow"})
    pull_data(night.services, night.run)
    split_data(night.services, night.run)
    report = check_leakage(night.services, night.run)
    assert report.outcome is Outcome.WAIVED
    assert any("50 entities are in more than one part" in finding.sentence for finding in report.findings)


@pytest.mark.parametrize("part", [1, 3])
def test_rows_moved_after_the_split_are_found(loans_night: Make, part: int) -> None:
    """The leakage task judges the split file it is given, not the one the splitter meant to write."""
    from gauntlet.core.leakage import check
    from gauntlet.core.leakage_evidence import Limits
    from gauntlet.stages.check_leakage import evidence

    night = loans_night()
    dataset = pull_data(night.services, night.run)
    codes = read_parts(night.services, split_data(night.services, night.run)).copy()
    codes[0] = part
    limits = Limits(**night.spec.split.leakage.model_dump())
    table = read_snapshot(night.services, dataset)
    report = check(dataset.sha256, evidence(night.spec, dataset, table, codes), limits)
    assert report.outcome is Outcome.FAILED
    assert "overlap in time" in report.reason
