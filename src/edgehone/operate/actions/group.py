"""Give the server's control group more processors."""

from __future__ import annotations

from pathlib import Path

from edgehone.operate.actions.plan import Case, Holds, Plan
from edgehone.operate.control_group import more, read_value, write_value
from edgehone.operate.remedies import Remedy

KIND = "control_group"


def plan(remedy: Remedy, case: Case) -> Plan | str:
    """Plan a larger quota or weight; or return why it is not possible or not permitted."""
    if case.group is None:
        return "the server's process is in no control group of its own"
    if not case.may_change_groups:
        return "control groups may not be changed: --control-groups permits it"
    (what,) = remedy.values
    found = more(case.group, what, remedy.times or 1.0, case.look.server.get("logical_cores") or 1)
    if isinstance(found, str):
        return found
    file, before, after = found
    folder = str(case.group.folder)
    return {
        "kind": KIND,
        "model": case.model,
        "folder": folder,
        "file": file,
        "before": before,
        "after": after,
        "says": f"{folder}/{file} = {after}, {before} before",
    }


def do(plan: Plan) -> None:
    """Do it. Raises NotPermitted."""
    write_value(Path(plan["folder"]), plan["file"], plan["after"])


def undo(plan: Plan) -> None:
    """Undo it. Raises NotPermitted."""
    write_value(Path(plan["folder"]), plan["file"], plan["before"])


def holds(plan: Plan) -> Holds:
    """Return what the control group has."""
    now = read_value(Path(plan["folder"]), plan["file"])
    return "after" if now == plan["after"] else "before" if now == plan["before"] else "other"
