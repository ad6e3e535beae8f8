"""``gauntlet demo | up | down``: the local stack, and the story it tells."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from gauntlet.core.errors import InfrastructureError
from gauntlet.demo.airflow_api import Airflow
from gauntlet.demo.airflow_env import ADMIN, Secrets, load_secrets
from gauntlet.demo.components import components
from gauntlet.demo.layout import DATA_VARIABLE, HOME, MODEL, PER_DAY, USUAL_PORTS, Layout
from gauntlet.demo.nights import NIGHTS
from gauntlet.demo.overlay import write_spec
from gauntlet.demo.ports import choose
from gauntlet.demo.screen import Screen
from gauntlet.demo.stack import Stack, interruptible, only_one, running
from gauntlet.demo.story import Story
from gauntlet.simulation.events import NIGHT_ONE
from gauntlet.simulation.events import story as scenario_of
from gauntlet.simulation.world import World


def demo(keep: bool = False, home: Path = HOME) -> int:
    """Start everything from nothing, tell the story, print what came of it; 0 when each night ended as it should."""
    home = home.absolute()
    with _alone(home), Screen() as screen:
        _clear(home)
        with _stack(home, screen, keep=keep) as (layout, stack, keys):
            story = _story(layout, stack, keys, screen)
            try:
                story.wait_for_dags()
                for night in NIGHTS:
                    story.play(night)
            finally:
                screen.summary(stack.seconds)
                story.airflow.close()
            screen.say(f"the story is told: {len(NIGHTS)} nights, each as expected, in {screen.seconds:.0f} s")
            _addresses(layout, keys, screen, keep=keep)
    return 0


def up(home: Path = HOME) -> int:
    """Start everything and leave it running; what an earlier demo left behind is used again."""
    home = home.absolute()
    with _alone(home), Screen() as screen, _stack(home, screen, keep=True) as (layout, _, keys):
        _addresses(layout, keys, screen, keep=True)
    return 0


def down(home: Path = HOME) -> int:
    """Stop exactly what was started in ``home``."""
    screen = Screen()
    stack = running(home.absolute(), screen.say)
    if stack is None:
        screen.say("nothing of the demo is running")
        return 0
    names = list(stack.children)
    killed = stack.stop()
    screen.say(f"stopped {', '.join(names)}" + (f"; had to kill {', '.join(killed)}" if killed else ""))
    return 0


def status(home: Path = HOME) -> dict[str, int]:
    """Name and process number of what runs."""
    stack = running(home.absolute(), lambda _: None)
    return {name: child.pid for name, child in stack.children.items()} if stack else {}


@contextmanager
def _alone(home: Path) -> Generator[None, None, None]:
    with only_one(home):
        if (other := running(home, lambda _: None)) is not None:
            raise InfrastructureError(
                f"{home}: a stack runs here already ({', '.join(other.children)}); stop it with: make down"
            )
        yield


@contextmanager
def _stack(home: Path, screen: Screen, *, keep: bool) -> Generator[tuple[Layout, Stack, Secrets], None, None]:
    """The running stack; stopped at the end, unless it is to be kept and all went well."""
    ports, notes = choose(USUAL_PORTS)
    for note in notes:
        screen.say(note)
    layout = Layout(home, ports)
    keys = load_secrets(layout.airflow.home)
    stack = Stack(home, ports, screen.say)
    stop = True
    with interruptible():
        try:
            _prepare(layout, screen.say)
            stack.start(components(layout), layout.environment(keys), layout.logs)
            yield layout, stack, keys
            stop = not keep
        finally:
            if stop:
                screen.say("stopping everything")
                killed = stack.stop()
                screen.say("nothing is left running" + (f"; had to kill {', '.join(killed)}" if killed else ""))


def _prepare(layout: Layout, say: Callable[[str], None]) -> None:
    """The demo's spec, and the warehouse of the first night."""
    for folder in (layout.logs, layout.home / "mlflow", layout.settings.home):
        folder.mkdir(parents=True, exist_ok=True)
    write_spec(layout.root / "include/models" / f"{MODEL}.yaml", layout.models / f"{MODEL}.yaml")
    if not (layout.world / "world.json").exists():
        advance = World(layout.world, scenario_of(NIGHT_ONE, PER_DAY)).advance(NIGHT_ONE)
        say(f"simulated {advance.rows} loan applications of {len(advance.written)} days")


def _story(layout: Layout, stack: Stack, keys: Secrets, screen: Screen) -> Story:
    from gauntlet.bootstrap import build

    os.environ[DATA_VARIABLE] = str(layout.world)
    return Story(
        model=MODEL,
        world=World(layout.world, scenario_of(NIGHT_ONE, PER_DAY)),
        night_one=NIGHT_ONE,
        airflow=Airflow(layout.url("airflow"), keys.password),
        airflow_home=layout.airflow.home,
        services=build(layout.settings),
        screen=screen,
        check_stack=stack.check,
    )


def _clear(home: Path) -> None:
    """Begin from nothing. Only what a demo makes is removed, and only in a folder that is a demo's or empty."""
    made = ("airflow", "gauntlet", "logs", "mlflow", "models", "warehouse")
    for name in made:
        if (home / name).exists():
            shutil.rmtree(home / name)


def _addresses(layout: Layout, keys: Secrets, screen: Screen, *, keep: bool) -> None:
    if not keep:
        screen.say("to look around, run it with KEEP=1 (or gauntlet demo --keep)")
        return
    screen.say(f"Airflow       {layout.url('airflow')}  login {ADMIN} / {keys.password}")
    screen.say(f"MLflow        {layout.url('mlflow')}")
    screen.say(f"model server  {layout.url('server')}/health")
    screen.say("stop it with: make down")
