from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from tests.processes import wait_for

from gauntlet.core.errors import InfrastructureError
from gauntlet.demo import main, processes
from gauntlet.demo.components import Component, components
from gauntlet.demo.layout import USUAL_PORTS, Layout
from gauntlet.demo.stack import running

PER_DAY = 5.0


def dummies(layout: Layout) -> tuple[Component, ...]:
    """The real stack's names and order, with programs that only wait."""
    waiting = (sys.executable, "-c", "import time; time.sleep(60)")
    return tuple(
        Component(
            real.name, (sys.executable, "-c", "pass") if real.once else waiting, "it", None, real.after, real.once
        )
        for real in components(layout)
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(main, "components", dummies)
    monkeypatch.setattr(main, "PER_DAY", PER_DAY)
    yield tmp_path / "demo"
    main.down(tmp_path / "demo")


def test_up_leaves_all_running_and_down_stops_exactly_that(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.up(home) == 0
    running_now = main.status(home)
    wanted = {component.name for component in components(Layout(home, USUAL_PORTS)) if not component.once}
    assert set(running_now) == wanted
    shown = capsys.readouterr().out
    assert "login admin / " in shown
    assert "stop it with: make down" in shown
    stack = running(home, print)
    assert stack
    children = list(stack.children.values())
    assert main.down(home) == 0
    assert [processes.members(child) for child in children] == [[] for _ in children]
    assert main.status(home) == {}


def test_down_with_nothing_running_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.down(tmp_path) == 0
    assert "nothing of the demo is running" in capsys.readouterr().out


def test_a_second_stack_in_the_same_home_is_refused_and_the_first_left_alone(home: Path) -> None:
    main.up(home)
    before = main.status(home)
    with pytest.raises(InfrastructureError, match=r"runs here already .*make down"):
        main.up(home)
    assert main.status(home) == before


def test_what_a_failed_start_began_is_stopped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[processes.Child] = []

    def broken(layout: Layout) -> tuple[Component, ...]:
        bad = Component("bad", (sys.executable, "-c", "raise SystemExit('no database')"), "it", lambda: False)
        return (*dummies(layout)[:2], bad)

    original = processes.start

    def start(*arguments: Any) -> processes.Child:
        seen.append(original(*arguments))
        return seen[-1]

    monkeypatch.setattr(main, "components", broken)
    monkeypatch.setattr(processes, "start", start)
    with pytest.raises(InfrastructureError, match=r"bad ended with exit code 1. Read .*bad.log; its end:\nno database"):
        main.up(home)
    assert len(seen) == 3
    assert [processes.members(child) for child in seen] == [[], [], []]


def test_a_demo_begins_from_nothing_but_removes_only_what_a_demo_makes(home: Path) -> None:
    home.mkdir()
    (home / "warehouse").mkdir()
    (home / "warehouse" / "old.parquet").touch()
    (home / "notes.txt").write_text("mine")
    main._clear(home)
    assert [path.name for path in home.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_during_the_start_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "demo"
    program = textwrap.dedent(f"""
        import importlib.util, sys
        from pathlib import Path
        spec = importlib.util.spec_from_file_location("dummies", {__file__!r})
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        from gauntlet.demo import main
        def slow(layout):
            parts = module.dummies(layout)
            never = module.Component("never", parts[0].command, "never", lambda: False)
            return (*parts, never)
        main.components, main.PER_DAY = slow, {PER_DAY}
        try:
            main.demo(home=Path({str(home)!r}))
        except KeyboardInterrupt:
            sys.exit(130)
    """)
    popen = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=os.environ)
    wait_for(lambda: "never" in main.status(home), 60)
    stack = running(home, print)
    assert stack
    popen.send_signal(number)
    output, _ = popen.communicate(timeout=60)
    assert popen.returncode == 130
    assert "nothing is left running" in output
    assert all(processes.members(child) == [] for child in stack.children.values())
    assert main.status(home) == {}
