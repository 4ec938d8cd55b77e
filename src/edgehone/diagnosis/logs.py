"""What toolchains' logs are known to fail of: patterns, causes, remedies and links, all data (logs.toml)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgehone.execution.failure_cause import one_line

# A log is read from its end: what went wrong stands there, and some logs are very long.
LONGEST = 4 << 20
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
    """A known failure found in a log: `line` (from 1) and its text are the evidence, `what` the part it names."""

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
        """A plain dict."""
        return asdict(self)


@lru_cache(maxsize=1)
def known() -> tuple[Known, ...]:
    """All entries, in the order in which they are told."""
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
    """The end of a log as text, whatever bytes stand in it."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - LONGEST))
        return file.read().decode("utf-8", "replace")


def find(text: str) -> list[Failure]:
    """The known failures of a log, each once, at the last line that shows it."""
    lines = text.splitlines()
    found = (_last(one, lines) for one in known())
    return [failure for failure in found if failure is not None]


def _last(one: Known, lines: list[str]) -> Failure | None:
    for number in range(len(lines), 0, -1):
        for pattern in one.patterns:
            # Lines of a megabyte are dumps, not messages.
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
