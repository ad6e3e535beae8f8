"""The freeze calendar: what is open when, in whose time zone, and until when it is not."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gauntlet.core.freeze import HORIZON, Closed, calendar_hold, override_in_force
from gauntlet.core.records.freeze import FreezeOverride
from gauntlet.core.specs.freeze import Dates, FreezeSection, Weekly

BERLIN = ZoneInfo("Europe/Berlin")
DEFAULT = FreezeSection()
WINDOW = FreezeSection(windows=(Weekly(since=time(4), until=time(6)),))
SUMMER = FreezeSection(dates=(Dates(first=date(2026, 7, 1), last=date(2026, 7, 3), reason="audit"),))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hold(freeze: FreezeSection, text: str, **more):
    return calendar_hold(freeze, BERLIN, at(text), **more)


def test_by_default_fridays_are_frozen_and_nothing_else() -> None:
    assert hold(DEFAULT, "2026-03-05 12:00") is None
    friday = hold(DEFAULT, "2026-03-06 12:00")
    assert friday.reason == "no deployments on Fridays"
    assert friday.until == at("2026-03-06 23:00")


def test_a_day_begins_where_the_team_is() -> None:
    """23:30 UTC on a Thursday is Friday in Berlin, and 23:30 UTC on a Friday is Saturday."""
    assert hold(DEFAULT, "2026-03-05 23:30") is not None
    assert hold(DEFAULT, "2026-03-06 23:30") is None
    assert calendar_hold(DEFAULT, ZoneInfo("UTC"), at("2026-03-05 23:30")) is None


@pytest.mark.parametrize(("day", "until"), [("2026-03-29", "02:00"), ("2026-10-25", "03:00"), ("2026-01-10", "03:00")])
def test_the_window_opens_at_its_local_hour_on_days_the_clocks_change(day: str, until: str) -> None:
    closed = hold(WINDOW, f"{day} 00:10")
    assert closed.reason == "outside the deployment window 04:00-06:00"
    assert closed.until == at(f"{day} {until}")
    assert hold(WINDOW, f"{day} {until}") is None


def test_a_window_is_for_beginning_only() -> None:
    assert hold(WINDOW, "2026-03-04 12:00", starting=False) is None
    assert hold(WINDOW, "2026-03-06 12:00", starting=False) is not None


def test_a_freeze_ends_where_everything_is_open_again() -> None:
    """After the frozen Friday the window opens on Saturday at four."""
    assert hold(WINDOW, "2026-03-06 12:00").until == at("2026-03-07 03:00")


def test_dates_include_both_ends() -> None:
    assert hold(SUMMER, "2026-06-30 21:59") is None
    assert hold(SUMMER, "2026-06-30 22:00").reason == "audit (2026-07-01 to 2026-07-03)"
    # 3 July 2026 is a Friday: frozen twice over, open on Saturday.
    assert hold(SUMMER, "2026-07-02 12:00").until == at("2026-07-03 22:00")


def test_an_event_of_the_calendar_holds_to_its_end() -> None:
    event = Closed(at("2026-03-03 08:00"), at("2026-03-03 10:00"), "migration")
    assert hold(DEFAULT, "2026-03-03 09:59", closed=[event]).until == at("2026-03-03 10:00")
    assert "migration" in hold(DEFAULT, "2026-03-03 08:00", closed=[event]).reason
    assert hold(DEFAULT, "2026-03-03 10:00", closed=[event]) is None
    assert hold(DEFAULT, "2026-03-03 07:59", closed=[event]) is None


def test_what_never_ends_says_so() -> None:
    always = FreezeSection(weekdays=("mon", "tue", "wed", "thu", "fri", "sat", "sun"))
    assert hold(always, "2026-03-03 09:00").until is None


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),
    st.sets(st.sampled_from(["mon", "tue", "wed", "thu", "fri"])),
    st.lists(st.tuples(st.integers(0, 11), st.integers(12, 23)), max_size=2),
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "UTC"]),
)
def test_the_end_it_names_is_the_first_open_moment(now, weekdays, hours, zone) -> None:
    windows = tuple(Weekly(since=time(a), until=time(b)) for a, b in hours)
    freeze = FreezeSection(weekdays=tuple(weekdays), windows=windows)
    found = calendar_hold(freeze, ZoneInfo(zone), now)
    if found is None:
        return
    assert found.until is not None
    assert calendar_hold(freeze, ZoneInfo(zone), found.until) is None
    step = (found.until - now) / 7
    assert all(calendar_hold(freeze, ZoneInfo(zone), now + n * step) is not None for n in range(7))
    assert found.until - now <= HORIZON


def test_a_window_over_midnight_is_two() -> None:
    with pytest.raises(ValidationError, match="write two windows"):
        Weekly(since=time(22), until=time(2))


def test_a_time_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="Europe/Berlim"):
        FreezeSection(timezone="Europe/Berlim")


# ---- override --------------------------------------------------------------------------------------

NOW = at("2026-03-06 12:00")


def word(by: str, *, ago: float = 0.0, lasts: float = 4.0) -> FreezeOverride:
    said = NOW - timedelta(hours=ago)
    reason = "payments are failing"
    return FreezeOverride(model="m", by=by, reason=reason, at=said, expires_at=said + timedelta(hours=lasts))


def test_an_override_takes_two_people() -> None:
    assert override_in_force([word("ann")], NOW) == ()
    assert {one.by for one in override_in_force([word("ann"), word("bob")], NOW)} == {"ann", "bob"}


@pytest.mark.parametrize("again", ["ann", "Ann", " ann ", "ANN"])
def test_one_person_twice_is_one(again: str) -> None:
    assert override_in_force([word("ann", ago=1), word(again)], NOW) == ()


@pytest.mark.parametrize("other", [word("bob", ago=5), word("bob", ago=-1), word("  ")])
def test_a_word_that_has_ended_or_is_nobodys_does_not_count(other: FreezeOverride) -> None:
    assert override_in_force([word("ann"), other], NOW) == ()
