from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.processes import wait_for

from gauntlet.core.errors import InfrastructureError
from gauntlet.demo import processes, stack
from gauntlet.demo.components import Component
from gauntlet.demo.stack import Stack, only_one, running, uninterrupted

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
# A leader whose child moves into a process group of its own, as Airflow's task runner does.
PARENT = textwrap.dedent("""
    import os, subprocess, sys, time
    if os.fork() == 0:
        os.setpgid(0, 0)
        time.sleep(60)
    print('up', flush=True)
    time.sleep(60)
""")


def component(name: str, code: str, folder: Path, **options: object) -> Component:
    """A Python program that is ready when it has said ``up``."""
    log = folder / f"{name}.log"
    ready = options.pop("ready", lambda: log.exists() and "up" in log.read_text())
    return Component(name, (sys.executable, "-c", code), f"{name} to say up", ready, **options)  # type: ignore[arg-type]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def empty(tmp_path: Path, said: list[str]) -> Iterator[Stack]:
    one = Stack(tmp_path, {"web": 1}, said.append)
    yield one
    processes.stop(one.children.values(), patience=0.2)


def environment() -> dict[str, str]:
    return dict(os.environ)


def test_everything_started_is_stopped_with_all_it_started(empty: Stack, said: list[str]) -> None:
    empty.start([component("parent", PARENT, empty.home)], environment(), empty.home)
    child = empty.children["parent"]
    assert len(processes.members(child)) == 2
    assert empty.stop() == []
    assert processes.members(child) == []
    assert not (empty.home / stack.STATE).exists()
    assert said[0] == "waiting for parent to say up"
    assert said[1].startswith("parent is ready")


def test_one_that_ignores_the_request_is_killed_and_named(empty: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    empty.start([component("stubborn", STUBBORN, empty.home)], environment(), empty.home)
    child = empty.children["stubborn"]
    assert processes.stop([child], patience=0.3) == ["stubborn"]
    assert processes.members(child) == []


def test_a_component_starts_only_after_what_it_needs(empty: Stack, said: list[str]) -> None:
    first = component("first", "import time; time.sleep(0.4); print('up', flush=True); time.sleep(60)", empty.home)
    second = component("second", SLEEPER, empty.home, after=("first",))
    empty.start([second, first], environment(), empty.home)
    order = [line.split(" (")[0] for line in said]
    assert order.index("first is ready") < order.index("waiting for second to say up")
    assert set(empty.seconds) == {"first", "second"}


def test_a_step_that_only_prepares_is_ready_when_it_has_ended_well(empty: Stack) -> None:
    prepare = Component("prepare", (sys.executable, "-c", "pass"), "preparing", once=True)
    empty.start([prepare, component("next", SLEEPER, empty.home, after=("prepare",))], environment(), empty.home)
    assert set(empty.children) == {"next"}
    empty.check()


@pytest.mark.parametrize("once", [True, False])
def test_a_component_that_dies_names_its_log_and_prints_the_end(empty: Stack, once: bool) -> None:
    code = "import sys; print('database is locked'); sys.exit(3)"
    dying = component("dying", code, empty.home, once=once)
    with pytest.raises(
        InfrastructureError, match=r"dying ended with exit code 3. Read .*dying.log; its end:\ndatabase"
    ):
        empty.start([dying], environment(), empty.home)


def test_a_component_that_is_never_ready_says_what_was_waited_for(empty: Stack) -> None:
    never = component("never", SLEEPER, empty.home, ready=lambda: False, patience=0.3)
    with pytest.raises(InfrastructureError, match=r"not ready after 0 s while waiting for never to say up"):
        empty.start([never], environment(), empty.home)
    assert empty.stop() == []


def test_one_that_ends_later_is_noticed(empty: Stack) -> None:
    brief = component("brief", "import time; print('up', flush=True); time.sleep(0.3)", empty.home)
    empty.start([brief], environment(), empty.home)
    wait_for(lambda: not processes.alive(empty.children["brief"]), 5)
    with pytest.raises(InfrastructureError, match="brief ended with exit code 0"):
        empty.check()


def test_another_process_finds_and_stops_exactly_what_runs(empty: Stack, said: list[str]) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL)
    try:
        empty.start([component("parent", PARENT, empty.home)], environment(), empty.home)
        child = empty.children["parent"]
        code = (
            "from pathlib import Path; from gauntlet.demo.stack import running\n"
            f"one = running(Path({str(empty.home)!r}), print); print(one.stop(), dict(one.ports))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip() == "[] {'web': 1}"
        assert processes.members(child) == []
        assert bystander.poll() is None
        assert running(empty.home, said.append) is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_number_used_again_is_not_touched(empty: Stack) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        stale = processes.Child(name="old", pid=bystander.pid, created=1.0, log=empty.home / "old.log")
        state = {"ports": {}, "children": [stale.model_dump(mode="json")]}
        (empty.home / stack.STATE).write_text(json.dumps(state))
        assert running(empty.home, print) is None
        assert processes.stop([stale]) == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_at_any_time_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    program = textwrap.dedent(f"""
        import os, sys
        from pathlib import Path
        from gauntlet.demo.components import Component
        from gauntlet.demo.stack import Stack, interruptible
        home = Path({str(tmp_path)!r})
        parts = [Component("parent", (sys.executable, "-c", {PARENT!r}), "parent"),
                 Component("never", (sys.executable, "-c", {SLEEPER!r}), "never", lambda: False)]
        one = Stack(home, {{}}, lambda line: print(line, flush=True))
        with interruptible():
            try:
                one.start(parts, os.environ, home)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            finally:
                print("killed", one.stop(), flush=True)
    """)
    popen = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: "up" in processes.tail(tmp_path / "never.log"), 20)
    children = [
        processes.Child.model_validate(one) for one in json.loads((tmp_path / stack.STATE).read_text())["children"]
    ]
    assert len(children) == 2
    popen.send_signal(number)
    output, _ = popen.communicate(timeout=30)
    assert "interrupted\nkilled []" in output
    assert [processes.members(child) for child in children] == [[], []]


def test_an_interruption_in_a_protected_block_comes_at_its_end() -> None:
    done: list[str] = []

    def work() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all of it"]


def test_two_at_once_in_one_home_are_refused(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(InfrastructureError, match="at work here"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_the_end_of_a_log(tmp_path: Path) -> None:
    assert processes.tail(tmp_path / "none.log") == "(empty)"
    (tmp_path / "a.log").write_text("".join(f"line {number}\n" for number in range(100)))
    assert processes.tail(tmp_path / "a.log", 2) == "line 98\nline 99"
