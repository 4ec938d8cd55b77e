"""Known failures in toolchains' logs: patterns, causes, remedies and links. The table is logs.toml."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgehone.execution.failure_cause import one_line

# Only the end of a log is read: errors are there, and some logs are very long.
MAX_BYTES = 4 << 20
_QUOTED = 300


@dataclass(frozen=True)
class Known:
    """An entry of logs.toml."""

    name: str
    frameworks: tuple[str, ...]
    symptom: str
    patterns: tuple[re.Pattern[str], ...]
    cause: str
    remedies: tuple[str, ...]
    link: str


@dataclass(frozen=True)
class Failure:
    """A known failure found in a log. The evidence is `line` (from 1) and its text; `what` is the part it names."""

    name: str
    frameworks: tuple[str, ...]
    symptom: str
    cause: str
    remedies: tuple[str, ...]
    link: str
    line: int
    text: str
    what: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return asdict(self)


@lru_cache(maxsize=1)
def known() -> tuple[Known, ...]:
    """Return the entries of logs.toml, in order."""
    tables = tomllib.loads(Path(__file__).with_name("logs.toml").read_text("utf-8"))["failure"]
    return tuple(
        Known(
            table["name"],
            tuple(table["frameworks"]),
            table["symptom"],
            tuple(re.compile(pattern) for pattern in table["patterns"]),
            table["cause"],
            tuple(table["remedies"]),
            table["link"],
        )
        for table in tables
    )


def read(path: Path) -> str:
    """Return the end of a log as text; invalid UTF-8 is replaced."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - MAX_BYTES))
        return file.read().decode("utf-8", "replace")


def find(text: str) -> list[Failure]:
    """Return the known failures in a log, each once, at the last line that matches it."""
    lines = text.splitlines()
    failures = (_last(one, lines) for one in known())
    return [failure for failure in failures if failure is not None]


def _last(one: Known, lines: list[str]) -> Failure | None:
    for number in range(len(lines), 0, -1):
        for pattern in one.patterns:
            # Search only the start of each line: very long lines are dumps, not messages.
            if match := pattern.search(lines[number - 1][:10_000]):
                return Failure(
                    one.name,
                    one.frameworks,
                    one.symptom,
                    one.cause,
                    one.remedies,
                    one.link,
                    number,
                    one_line(lines[number - 1], _QUOTED),
                    match.groupdict().get("what"),
                )
    return None
