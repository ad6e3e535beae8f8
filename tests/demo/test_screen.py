from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from gauntlet.demo.screen import PLAIN_WIDTH, NightRow, Screen


def row(number: int, decision: str = "") -> NightRow:
    one = NightRow(number, "first model", decision, gates="21 passed", version="v1", champion="v1 (new)")
    one.seconds = 61.2
    return one


def tell(screen: Screen) -> None:
    with screen:
        screen.night(1, "first model", "bootstrap")
        screen.now("m__retrain: train (3 of 9 tasks done)")
        screen.now("m__retrain: train (4 of 9 tasks done)")
        screen.now("m__retrain: gates (5 of 9 tasks done)")
        screen.night_over(row(1, decision="retrain (bootstrap): none"), failed=False)
        screen.night(2, "calm", "skip")
        screen.night_over(row(2), failed=True)
        screen.summary({"mlflow": 8.8})


def test_a_file_gets_one_line_per_event_and_no_control_codes() -> None:
    output = io.StringIO()
    tell(Screen(Console(file=output)))
    text = output.getvalue()
    assert "\x1b" not in text
    assert len(re.findall(r"m__retrain: train", text)) == 1
    assert len(re.findall(r"m__retrain: gates", text)) == 1
    assert "night 1: as expected after 61.2 s; champion v1 (new)" in text
    assert "night 2: NOT as expected" in text
    assert max(len(line) for line in text.splitlines()) <= PLAIN_WIDTH


def test_a_terminal_gets_a_table_that_changes_in_place() -> None:
    output = io.StringIO()
    screen = Screen(Console(file=output, force_terminal=True, width=120, legacy_windows=False))
    tell(screen)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.getvalue())
    assert "✓" in text
    assert "6 fine offline, wrong live" in text
    assert "retrain (bootstrap): none" in text
    assert "start mlflow" in text


def test_text_in_brackets_is_shown_as_it_is() -> None:
    output = io.StringIO()
    screen = Screen(Console(file=output))
    screen.say("deployment [9/11] [red]monitoring")
    assert "deployment [9/11] [red]monitoring" in output.getvalue()


@pytest.mark.parametrize("words", ["psi [0.1, 0.2]", "[bold]x"])
def test_facts_in_the_summary_are_no_markup(words: str) -> None:
    output = io.StringIO()
    screen = Screen(Console(file=output))
    screen.night_over(row(1, decision=words), failed=False)
    screen.summary({})
    assert words in output.getvalue()
