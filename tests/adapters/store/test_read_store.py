"""Another environment's database is read as it is, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from gauntlet import bootstrap
from gauntlet.adapters.store_sql import open_store, read_store
from gauntlet.core.errors import InfrastructureError, SpecError
from gauntlet.core.records.freeze import LineStop
from gauntlet.settings import Environment, Settings

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    def now(self) -> datetime:
        return NOW


def staging(home: Path) -> None:
    store = open_store(f"sqlite:///{home}/gauntlet.db", clock=Clock())
    store.records.put("m/line", LineStop(model="m", stopped=True, by="ann", reason="r", at=NOW))
    store.close()


def test_what_is_there_is_read(tmp_path: Path) -> None:
    staging(tmp_path)
    store = read_store(f"sqlite:///{tmp_path}/gauntlet.db", clock=Clock())
    assert store.records.get("m/line", LineStop).by == "ann"
    store.close()


def test_a_database_of_another_schema_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gauntlet.db"
    with pytest.raises(InfrastructureError, match=r"is at schema None, not .*: run the same version of Gauntlet"):
        read_store(url, clock=Clock())
    staging(tmp_path)  # it was not made by reading: nothing was in the way
    with pytest.raises(InfrastructureError):
        read_store(f"sqlite:///{tmp_path}/other.db", clock=Clock())


def test_settings_say_where_an_environment_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staging(tmp_path)
    monkeypatch.setenv("GAUNTLET_ENVIRONMENTS", f'{{"staging": {{"home": "{tmp_path}"}}}}')
    current = Settings(home=tmp_path / "production")
    monkeypatch.setattr(bootstrap, "settings", lambda: current)
    found = bootstrap.origin("staging")
    assert found.environment == "staging"
    assert found.records.get("m/line", LineStop).reason == "r"
    with pytest.raises(SpecError, match="unknown environment 'stagin': did you mean 'staging'"):
        bootstrap.origin("stagin")


def test_an_environment_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ValidationError, match="give its home, or both database_url and blobs_url"):
        Environment(blobs_url="s3://bucket")
    place = Environment(database_url="postgresql://h/g", blobs_url="s3://bucket")
    assert (place.database, place.blobs) == ("postgresql://h/g", "s3://bucket")
