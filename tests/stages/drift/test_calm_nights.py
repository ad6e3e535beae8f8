"""Calm nights of the shipped example, as large as they are: judged, and not left open one after another."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gauntlet.core.drift import conclude, measure, parts_of
from gauntlet.core.drift_action import Evidence, suggest
from gauntlet.core.joint import heaviest, joint_drift
from gauntlet.core.outcome import Outcome
from gauntlet.core.profile import Profile
from gauntlet.core.records.drift import DriftAction
from gauntlet.core.spec import ModelSpec
from gauntlet.core.spec_yaml import read_spec
from gauntlet.simulation.world import history
from gauntlet.stages.joint_drift import dependence, pairs_moved, rank_base
from gauntlet.stages.windows import Window, counted, profile_of
from gauntlet.stages.write_profile import kinds_in

EXAMPLE = Path(__file__).parents[3] / "include" / "models" / "credit_default.yaml"
NIGHTS = 6


def test_nights_of_the_example_pass_and_name_what_they_are_too_small_for(tmp_path: Path) -> None:
    spec = read_spec(EXAMPLE, ModelSpec)
    table = history(1700 * 36, days=36)
    times = table[spec.source.columns.event_time]
    first = pc.max(times).as_py() - timedelta(days=NIGHTS)

    def stored(since: int | None, until: int) -> Window:
        ends = [pa.scalar(first + timedelta(days=day), times.type) for day in (since or 0, until)]
        inside = pc.less(times, ends[1])
        inside = inside if since is None else pc.and_(inside, pc.greater_equal(times, ends[0]))
        path = tmp_path / f"{until}.parquet"
        pq.write_table(table.filter(inside), path, write_page_checksum=True)
        return Window(path, verified=True)

    kinds = {name: kind for name, kind in kinds_in(spec).items() if name in table.column_names}
    trained = stored(None, 0)
    profile = profile_of(trained, kinds)
    content = replace(profile, pairs=rank_base(trained, profile)).to_bytes()
    assert len(content) < 200_000
    profile = Profile.from_bytes(content)
    for night in range(NIGHTS):
        window = stored(night, night + 1)
        current = counted(profile.blank(), window, kinds)
        judged = measure(profile, current, spec.drift)
        parts = heaviest(parts_of(judged))
        alike = dependence(window, [part.name for part in parts])
        joint = joint_drift(parts, spec.drift, dependence=alike, pairs=pairs_moved(profile, window))
        found = suggest(Evidence(conclude(judged, spec.drift, current.rows), joint=joint), spec.drift)
        assert 1000 < current.rows < 2500
        assert (found.outcome, found.action) == (Outcome.PASSED, DriftAction.NONE), found.reason
        assert [one.startswith("small changes of all features together (from") for one in found.not_judged] == [True]
