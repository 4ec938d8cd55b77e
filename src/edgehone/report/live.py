"""Show the progress of a run on standard error: a live table on a terminal, plain lines elsewhere."""

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

# Without a terminal, progress within a state is printed after this many seconds, so that a log shows that the run
# continues.
SILENCE = 30.0


@contextmanager
def live(*, plain: bool) -> Iterator[Emit]:
    """Yield the function that receives events. The table stays on the screen after the block."""
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
    """Prints a line for each new state, and for progress within a state if nothing was printed for SILENCE seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, tuple[str | None, str]] = {}
        self._started = self._printed = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Print the event, unless it repeats the last one or is progress within SILENCE seconds."""
        with self._lock:
            now, news = time.monotonic(), (event.state, event.detail)
            if event.fraction is None:
                if not (event.key or event.detail) or self._last.get(event.key) == news:
                    return
                self._last[event.key] = news
            elif now - self._printed < SILENCE:
                return
            self._printed = now
            done = f"{event.fraction:.0%}" if event.fraction else ""
            words = [f"[{now - self._started:6.1f} s]", event.key, event.state or "", done, event.detail]
            print(" ".join(word for word in words if word), file=sys.stderr, flush=True)


class _Rows:
    """The latest event of each candidate as a table, and the latest event of the run as a line below it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, Event] = {}
        self._line = ""

    def __call__(self, event: Event) -> None:
        """Keep the event for the next rendering."""
        with self._lock:
            if event.key:
                self._rows[event.key] = event
            else:
                self._line = event.detail

    def render(self) -> Table:
        """Return the current table."""
        from rich.table import Table
        from rich.text import Text

        # Text instead of str, since the brackets of an error message are not markup.
        line = Text(self._line, no_wrap=True, overflow="ellipsis")
        # Expanded, so that the detail gets the width that the other columns leave.
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
