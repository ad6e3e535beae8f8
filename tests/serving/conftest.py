"""Real releases of small real models."""

from __future__ import annotations

import pytest
from tests.serving.servers import Trained, served, train, write_release

from gauntlet.core.records.model import ReleaseRef
from gauntlet.core.records.rollout import ServedVersion


@pytest.fixture(scope="session")
def trained() -> Trained:
    return train(1)


@pytest.fixture(scope="session")
def challenger() -> Trained:
    return train(2)


@pytest.fixture(scope="session")
def releases(
    tmp_path_factory: pytest.TempPathFactory, trained: Trained, challenger: Trained
) -> tuple[ReleaseRef, ReleaseRef]:
    folder = tmp_path_factory.mktemp("releases")
    return write_release(folder / "one", trained, "v-one"), write_release(folder / "two", challenger, "v-two")


@pytest.fixture(scope="session")
def stable(releases: tuple[ReleaseRef, ReleaseRef]) -> ServedVersion:
    return served(releases[0], 1)


@pytest.fixture(scope="session")
def canary(releases: tuple[ReleaseRef, ReleaseRef]) -> ServedVersion:
    return served(releases[1], 2)
