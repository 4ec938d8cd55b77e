"""A planned change, in plain JSON: the journal has it before it is begun, and a later run can finish or undo it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgehone.diagnosis.facts import Facts
from edgehone.operate.control_group import Group
from edgehone.operate.journal import Journal
from edgehone.operate.remedies import Remedy
from edgehone.operate.server import Look, Server

# {"kind": …} and what its kind needs; "says" is what would be done, in words.
Plan = Mapping[str, Any]
# before: it was not done, or was undone. after: it is done. other: someone else made it otherwise.
Holds = Literal["before", "after", "other", "changing"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a remedy is planned for: the model's name and the facts about it, and where to find other bundles."""

    server: Server
    look: Look
    model: str
    facts: Facts
    group: Group | None
    journal: Journal
    bundles: Sequence[Path]
    previous: Callable[[str], Path | str]
    reoptimize: Callable[[Case], Plan | str]
    may_change_groups: bool
    can_compare: bool = True  # whether what the alerts are about can show that another bundle is better


@dataclass(frozen=True)
class Planned:
    """A remedy with its plan, or with the reason why it is not offered."""

    remedy: Remedy
    plan: Plan | None
    reason: str | None = None
