"""Progress of a run: a live table on a terminal, plain lines elsewhere, always on standard error."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgehone.core.events import Emit, Event

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {
    "waiting": "dim",
    "building": "yellow",
    "scoring": "cyan",
    "measuring": "magenta",
    "done": "green",
    "failed": "red",
    "disqualified": "red",
    "skipped": "dim",
}

# Without a terminal, seconds after which even progress is told: who reads a log wants to see that it goes on.
SILENCE = 30.0


@contextmanager
def live(*, plain: bool) -> Iterator[Emit]:
    """Yields the function that takes events; the table stays on the screen when the block is left."""
    if plain:
        yield _Lines()
        return
    from rich.console import Console
    from rich.live import Live

    table = _Rows()
    with Live(
        get_renderable=table.render, console=Console(stderr=True), refresh_per_second=4, transient=False
    ):
        yield table


class _Lines:
    """One line for each new state; of progress within a state one where nothing was said for SILENCE seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, tuple[str | None, str]] = {}
        self._started = self._spoke = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Print the event unless it only repeats, or is progress that need not be told yet."""
        with self._lock:
            now, news = time.monotonic(), (event.state, event.detail)
            if event.fraction is None:
                if not (event.key or event.detail) or self._last.get(event.key) == news:
                    return
                self._last[event.key] = news
            elif now - self._spoke < SILENCE:
                return
            self._spoke = now
            done = f"{event.fraction:.0%}" if event.fraction else ""
            words = [f"[{now - self._started:6.1f} s]", event.key, event.state or "", done, event.detail]
            print(" ".join(word for word in words if word), file=sys.stderr, flush=True)


class _Rows:
    """The latest event of each candidate, as a table; the run's own latest line below it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, Event] = {}
        self._line = ""

    def __call__(self, event: Event) -> None:
        """Keep the event."""
        with self._lock:
            if event.key:
                self._rows[event.key] = event
            else:
                self._line = event.detail

    def render(self) -> Table:
        """The table of now."""
        from rich.table import Table
        from rich.text import Text

        # Text, not str: an error's brackets are not markup.
        line = Text(self._line, no_wrap=True, overflow="ellipsis")
        # Expanded, so that the detail gets what the other columns leave, and not the other way about.
        table = Table(box=None, pad_edge=False, expand=True, caption=line or None, caption_justify="left")
        table.add_column("candidate", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("", no_wrap=True, justify="right", width=5)
        table.add_column("detail", overflow="ellipsis", no_wrap=True, ratio=1)
        with self._lock:
            for key, event in self._rows.items():
                state = event.state or ""
                part = f"{event.fraction:4.0%}" if event.fraction is not None else ""
                shown = Text(state, _STYLES.get(state, ""))
                table.add_row(Text(key), shown, part, Text(event.detail.replace("\n", " ")))
        return table
