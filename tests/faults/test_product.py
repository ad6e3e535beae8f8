"""SIGKILL against the whole product: a real MLflow server, a real model server under requests, real models."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.faults import product as whole
from tests.faults.points import is_write
from tests.faults.product import ACTS, MODEL, Product, ProductWorld
from tests.faults.steps import safe_now, settled
from tests.faults.test_matrix import ran, record
from tests.processes import mlflow_server
from tests.serving.servers import TOKEN, RunningServer, running, train

from gauntlet.core.errors import Conflict, PromotionRefused
from gauntlet.core.records.ledger import RollbackReport
from gauntlet.core.records.rollout import PPM, RolloutState
from gauntlet.stages.close_rollout import close_rollout

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own, of its own libraries
WORDS = ("HTTP", "COMMIT", "fsync", "file os.r")


@dataclass
class Life:
    """The product, running, and the numbers of its models."""

    world: ProductWorld
    product: Product
    server: RunningServer
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def champion(self) -> int:
        number = next(self.numbers)
        run = whole.ramped(self.world, number)
        whole.promote(self.world.services, run)
        return number

    def traffic(self, rows: int) -> None:
        """Rows of different customers."""
        known = train(1).rows
        told = [{**known[n % len(known)], "customer": f"c{n}"} for n in range(rows)]
        for first in range(0, rows, 50):
            assert self.server.predict_rows(told[first : first + 50]).status_code == 200


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("product")
    routing, fetch = partial(whole.read_routing, folder), partial(whole.fetch, folder)
    with (
        mlflow_server(folder) as url,
        running(folder, workers=2, ready=False, read_routing=routing, fetch=fetch) as server,
    ):
        admin = f"unix:{server.config.admin_socket}"
        product = Product(folder, url, admin, TOKEN, server.config.journal)
        world = ProductWorld(product)
        lived = Life(world, product, server)
        lived.champion()
        lived.champion()
        yield lived
        world.store.close()


# ---- what is right before a step, and what must be after it ----------------------------------------


def before_registration(life: Life) -> int:
    number = next(life.numbers)
    whole.trained(life.world, number)
    return number


def before_promotion(life: Life) -> int:
    number = next(life.numbers)
    whole.ramped(life.world, number)
    return number


def before_ramp_step(life: Life) -> int:
    number = next(life.numbers)
    run = whole.ramped(life.world, number, PPM // 2)
    life.world.in_first_step(run)
    life.traffic(200)
    time.sleep(0.2)
    return number


def before_rollback(life: Life) -> int:
    return life.champion()


def before_retention(life: Life) -> int:
    """Three champions: the oldest is nobody's any more."""
    for _ in range(2):
        life.champion()
    return life.champion()


def registered_once(life: Life, number: int) -> list[str]:
    digests = [version.version_id for version in life.world.registry.versions(MODEL)]
    return [] if digests.count(f"id-m{number}") == 1 else [f"versions: {digests}"]


def promoted(life: Life, number: int) -> list[str]:
    return _serves(life, f"id-m{number}")


def passed(life: Life, number: int) -> list[str]:
    state = life.world.services.records.get(f"{MODEL}/canary-{number}", RolloutState)
    wrong = [] if (state.step, state.weight_ppm) == (1, PPM) else [f"{state.phase}, step {state.step}: {state.reason}"]
    close_rollout(life.world.services, life.world.run(f"canary-{number}"))
    return wrong


def rolled_back(life: Life, number: int) -> list[str]:
    report = life.world.services.records.get(f"{MODEL}/manual__{number}", RollbackReport)
    wrong = [] if report.offender.version_id == f"id-m{number}" else [f"rolled back {report.offender.version_id}"]
    return wrong + _serves(life, report.restored.version_id)


def gone(life: Life, number: int) -> list[str]:
    """Champion, previous and the challenger that waits are there, in the registry and on the disk; nothing else is."""
    aliases = life.world.registry.aliases(MODEL)
    numbers = {version.version: version.version_id for version in life.world.registry.versions(MODEL)}
    folders = {f"id-{path.name}" for path in (life.product.folder / "releases").iterdir()}
    wanted = {numbers[version] for version in aliases.values() if version in numbers}
    wrong = [] if {f"id-m{number}", f"id-m{number - 1}"} <= wanted else [f"aliases {aliases}, versions {numbers}"]
    left = (("versions", set(numbers.values())), ("releases", folders))
    return wrong + [f"{what} left: {found}, not {wanted}" for what, found in left if found != wanted]


def _serves(life: Life, version_id: str) -> list[str]:
    answer = life.server.predict(train(1).rows[0]).json().get("version_id")
    return [] if answer == version_id == life.world.stable() else [f"{answer} answers, {version_id} should"]


CELLS: dict[str, tuple[Callable[[Life], int], Callable[[Life, int], list[str]]]] = {
    "registration": (before_registration, registered_once),
    "promotion": (before_promotion, promoted),
    "ramp step": (before_ramp_step, passed),
    "rollback": (before_rollback, rolled_back),
    "retention": (before_retention, gone),
}


def every_write(labels: list[str]) -> list[int]:
    return [index for index, label in enumerate(labels) if is_write(label)]


def one_of_them(labels: list[str]) -> list[int]:
    """One of the kinds of write that only the whole product has: the others are killed at when soaked."""
    kinds = {labels[index]: index for index in every_write(labels) if any(word in labels[index] for word in WORDS)}
    indices = sorted(kinds.values())
    return indices[len(indices) // 2 :][:1]


def killed(life: Life, name: str, index: int | None, label: str, answer: Path) -> list[str]:
    """One cell: prepare, kill, run again, look; what did not hold."""
    prepare, check = CELLS[name]
    number = prepare(life)
    code = ran(whole.act, life.product, name, number, index, str(answer))
    while index and code == 0:
        # It took fewer steps than the undisturbed one: servers answer faster or slower. Nothing was killed: again.
        index, number = index * 9 // 10, prepare(life)
        code = ran(whole.act, life.product, name, number, index, str(answer))
    wrong = [] if code == (0 if index is None else -signal.SIGKILL) else [f"the process ended with {code}"]
    wrong += safe_now(life.world)
    try:
        ACTS[name](life.world, life.world.services, number)
    except (PromotionRefused, Conflict) as error:
        wrong.append(f"refused when run again: {error}")
    return [f"{label}: {text}" for text in (*wrong, *settled(life.world), *check(life, number))]


EACH_ACT = [pytest.param(name, marks=pytest.mark.soak) if name == "retention" else name for name in ACTS]
"""What retention deletes has to be made first, which takes longest; ``test_matrix`` kills it at every write as well."""


@pytest.mark.parametrize("name", EACH_ACT)
@pytest.mark.parametrize(
    "choose", [one_of_them, pytest.param(every_write, marks=pytest.mark.soak)], ids=["one-of-them", "every-write"]
)
def test_killed_in_the_whole_product(name: str, choose: Any, life: Life, tmp_path: Path, record_property: Any) -> None:
    """What was killed in any place is finished by running it again; the servers agree, nothing is there twice."""
    answer = tmp_path / "points.txt"
    assert killed(life, name, None, "undisturbed", answer) == []
    labels = answer.read_text(encoding="utf-8").splitlines()
    chosen, broken = choose(labels), []
    for index in chosen:
        broken += killed(life, name, index, f"{index}.{labels[index]}", answer)
    record(record_property, name, "SIGKILL, whole product", [labels[index] for index in chosen], broken)
    assert broken == []
