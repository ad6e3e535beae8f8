"""What the documentation, the alerts and the messages tell people to do exists: files, headings, commands, options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from gauntlet.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SPEAKING = [
    *PAGES,
    ROOT / "deploy" / "prometheus" / "rules.yml",
    *sorted((ROOT / "include" / "gauntlet").rglob("*.py")),
    *sorted((ROOT / "dags").glob("*.py")),
]
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
CALL = re.compile(r"\bgauntlet ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)([^`\n;|]*)")


def commands() -> dict[str, set[str]]:
    """Every command's full name with its options."""
    found: dict[str, set[str]] = {}

    def walk(command: Any, name: list[str]) -> None:
        if hasattr(command, "commands"):
            for each, inner in command.commands.items():
                walk(inner, [*name, each])
        else:
            found[" ".join(name)] = {"--help"} | {option for each in command.params for option in each.opts}

    walk(get_command(app), [])
    return found


COMMANDS = commands()
GROUPS = {name.split()[0] for name in COMMANDS if " " in name}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def calls(path: Path) -> Iterator[tuple[str, str]]:
    """Each command that a file names, with the rest of its line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = "\n".join(block or span for block, span in CODE.findall(text))
    for line in text.splitlines():
        if re.search(r"\b(from|import) gauntlet\b|-n gauntlet |gauntlet import ", line):
            continue
        for words, rest in CALL.findall(line.split("  #")[0]):
            first, _, second = words.partition(" ")
            yield (words, rest) if first in GROUPS else (first, f" {second}{rest}")


@pytest.mark.parametrize("page", SPEAKING, ids=name)
def test_every_command_and_option_that_is_named_exists(page: Path) -> None:
    for command, rest in calls(page):
        if command in GROUPS:  # the group itself, as a heading names it
            continue
        assert command in COMMANDS, f"gauntlet {command}{rest}"
        if page.suffix == ".md":
            assert set(re.findall(r"(?<=\s)--[a-z-]+", rest)) <= COMMANDS[command], f"gauntlet {command}{rest}"


def headings(page: Path) -> set[str]:
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_resolves(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, heading = target.partition("#")
        found = page.parent / place if place else page
        assert found.exists(), target
        assert not heading or heading in headings(found), target


def test_the_readme_leads_to_every_page_and_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page for page in map(name, PAGES[1:]) if f"({page})" not in text] == []
    assert [each for each in COMMANDS if f"gauntlet {each}" not in text and f"`{each}`" not in text] == [
        "config models",
        "config schema",
    ]


def test_the_readme_names_every_dag() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.stem for path in sorted((ROOT / "dags").glob("*.py")) if f"`{path.stem}`" not in text] == []


def test_the_page_about_gates_has_a_row_for_each() -> None:
    from gauntlet.core.gates.catalogue import GATES

    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "gates.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(set(GATES) - set(rows)) == []
