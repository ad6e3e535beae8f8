"""What the demo shows: a live table on a terminal, plain lines elsewhere, a summary at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gauntlet.core.records.rollout import RolloutPhase, RolloutState
from gauntlet.demo.facts import contract_words
from gauntlet.demo.nights import NIGHTS, Evidence

T = TypeVar("T")
PLAIN_WIDTH = 160
"""Of tables in a file or a pipe, which have no width of their own."""
HEADING = ("night", "trigger decision", "gates", "version", "rollout", "champion", "seconds")


@dataclass
class NightRow:
    """One line of the summary, filled when the night is over."""

    number: int
    title: str
    decision: str = ""
    gates: str = ""
    version: str = "-"
    rollout: str = "-"
    champion: str = ""
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)

    def timed(self, stage: str, work: Callable[[], T]) -> T:
        """Do some work and note how long it took."""
        began = time.monotonic()
        result = work()
        self.stages[stage] = time.monotonic() - began
        return result

    def fill(self, seen: Evidence) -> None:
        """Put the night's facts into words."""
        decision = (seen.drift or seen.facts).decision
        self.decision = brief(
            f"{decision.action} ({decision.kind}): {decision.reason}" if decision else "none recorded"
        )
        self.gates = contract_words(seen.facts.contract) or seen.facts.gates
        registered = seen.facts.registered
        self.version = f"v{registered.version}" if registered and registered.version else "-"
        self.rollout = rollout_words(seen.rollout)
        after, before = seen.champion_after, seen.champion_before
        self.champion = f"v{after}" + (" (new)" if after != before else "") if after else "none"


def rollout_words(state: RolloutState | None) -> str:
    """How a rollout ended, in a few words."""
    if state is None:
        return "-"
    if state.phase is not RolloutPhase.ROLLED_BACK:
        return str(state.phase).replace("_", " ")
    weight = f" at {state.analysis.weight_ppm / 10_000:g} %" if state.analysis else ""
    seconds = f", back in {state.withdraw_seconds:.2f} s" if state.withdraw_seconds is not None else ""
    return f"rolled back{weight}{seconds}: {brief(state.reason)}"


def brief(text: str, most: int = 120) -> str:
    """The beginning of a sentence, up to a clause's end if there is one; all of it is in ``gauntlet explain``."""
    if len(text) <= most:
        return text
    clauses = text[:most].rpartition(";")[0]
    return f"{clauses or text[:most].rpartition(' ')[0]} …"


class Screen:
    """Progress. On a terminal one table that changes in place; elsewhere one line per event."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, PLAIN_WIDTH)
        self._rows: dict[int, NightRow] = {}
        self._failed: set[int] = set()
        self._current: tuple[int, str] | None = None
        self._now = ""
        self._began = self._night_began = time.monotonic()
        self._live = Live(console=self.console, refresh_per_second=8, transient=True, get_renderable=self._render)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """One line that stays."""
        self.console.print(f"{self.seconds:6.1f} s  {text}", markup=False, soft_wrap=True)

    def now(self, text: str) -> None:
        """What is being waited for: shown on a terminal, and elsewhere when it changes what is done."""
        if text != self._now and not self.console.is_terminal:
            what = text.split(" (")[0]
            if what != self._now.split(" (")[0] and not what.endswith("scheduling"):
                self.say(f"         {what}")
        self._now = text

    def night(self, number: int, title: str, expectation: str) -> None:
        """A night begins."""
        self._current, self._now, self._night_began = (number, title), "", time.monotonic()
        self.say(f"night {number}: {title}. Expected: {expectation}")

    def night_over(self, row: NightRow, *, failed: bool) -> None:
        """A night has ended."""
        self._current = None
        self._rows[row.number] = row
        if failed:
            self._failed.add(row.number)
        verdict = "NOT as expected" if failed else "as expected"
        self.say(f"night {row.number}: {verdict} after {row.seconds:.1f} s; champion {row.champion or 'unknown'}")

    def summary(self, start: Mapping[str, float]) -> None:
        """The table of all nights, and where the time went. ``start``: seconds per component."""
        self._live.stop()
        table = Table(*HEADING, title="Six nights", title_justify="left", header_style="bold", show_lines=True)
        for row in self._rows.values():
            cells = (f"{row.number} {row.title}", row.decision, row.gates, row.version, row.rollout, row.champion)
            style = "red" if row.number in self._failed else None
            table.add_row(*[Text(cell) for cell in (*cells, f"{row.seconds:.1f}")], style=style)
        self.console.print(table)
        self.console.print(_timings(start, self._rows))

    def _render(self) -> Group:
        table = Table("", "night", "", box=None, pad_edge=False, show_header=False)
        for night in NIGHTS:
            row = self._rows.get(night.number)
            if row:
                mark = "[red]✗[/]" if night.number in self._failed else "[green]✓[/]"
                table.add_row(mark, f"{night.number} {night.title}", f"{row.seconds:.0f} s, champion {row.champion}")
            elif self._current and self._current[0] == night.number:
                passed = time.monotonic() - self._night_began
                table.add_row("[yellow]▶[/]", f"{night.number} {night.title}", Text(f"{passed:.0f} s  {self._now}"))
            else:
                table.add_row("·", f"[dim]{night.number} {night.title}[/]", "")
        return Group(table)


def _timings(start: Mapping[str, float], rows: Mapping[int, NightRow]) -> Table:
    table = Table(
        "stage",
        "seconds",
        title="Where the time went",
        title_justify="left",
        min_width=30,
        header_style="bold",
        box=None,
    )
    for name, seconds in start.items():
        table.add_row(f"start {name}", f"{seconds:.1f}")
    for row in rows.values():
        for name, seconds in row.stages.items():
            table.add_row(f"night {row.number}: {name}", f"{seconds:.1f}")
    return table
