"""Change how a model is served: runtime settings, limits, another bundle, a new engine.

A plan has the body of POST /admin/bundles before and after; the server proves the new engine by the bundle's canaries
before requests go to it. Undoing sends the body of before.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.operate.actions.plan import Case, Holds, Plan
from edgehone.operate.remedies import Remedy
from edgehone.operate.server import Look, Server

KIND = "serve"


def settings(remedy: Remedy, case: Case) -> Plan | str:
    """Plan other runtime settings; or return why the backend does not take them."""
    model = case.look.models[case.model]
    wanted: dict[str, Any] = {}
    for name, value in remedy.values.items():
        if isinstance(value, str) and value in case.facts:
            value = case.facts[value].value
        accepts = model["accepts"].get(name)
        if accepts is None:
            return f"{model['backend']} takes no setting {name}"
        if value not in accepts:
            return f"{model['backend']} takes no {name} = {value} here"
        # The first is what holds by default, but for an engine that began when the server could use more processors.
        if value == (model["threads"] if name == "threads" else model["settings"].get(name, accepts[0])):
            return f"{name} is {value} already"
        wanted[name] = value
    says = ", ".join(f"{name} = {value}" for name, value in wanted.items())
    return _plan(model, {"settings": {**model["change"]["settings"], **wanted}}, says)


def limits(remedy: Remedy, case: Case) -> Plan | str:
    """Plan another number of requests at once, context or size of a batch, or to keep it loaded; or return why not."""
    model = case.look.models[case.model]
    ((name, wanted),) = remedy.values.items()
    if isinstance(wanted, bool):
        if model["change"].get(name) is wanted:
            return f"{name} is {wanted} already"
        return _plan(model, {name: wanted}, f"{name} = {wanted}")
    fact = case.facts["places" if name == "parallel" else name]
    if fact.value is None:
        return f"{name} is unknown: {fact.reason}"
    now = float(fact.value)
    value = max(1, round(now * (remedy.times or 1.0)))
    if value == now:
        return f"{name} is {value} already"
    return _plan(model, {name: value}, f"{name} = {value}, {now:g} before")


def restart(remedy: Remedy, case: Case) -> Plan | str:
    """Plan a new engine of the same bundle."""
    return {**_plan(case.look.models[case.model], {}, "a new engine of the same bundle"), "anew": True}


def bundle(path: Path, case: Case, says: str, body: Mapping[str, Any] | None = None) -> Plan:
    """Plan another bundle, with its own settings unless `body` is how it was served before."""
    model = case.look.models[case.model]
    fields = body or {"path": str(path.absolute()), "settings": {}}
    return _plan(model, fields, says)


def do(plan: Plan, server: Server) -> None:
    """Do it. Raises Declined if the server refuses, Unreachable if it does not answer."""
    server.change(plan["after"], plan["id"])


def undo(plan: Plan, server: Server, look: Look) -> None:
    """Undo it."""
    server.change(plan["before"], look.models[plan["model"]]["id"])


def holds(plan: Plan, look: Look) -> Holds:
    """Return what the server serves."""
    name = plan["model"]
    if name in look.changing:
        return "changing"
    model = look.models.get(name)
    if model is None:
        return "other"
    if plan.get("anew"):
        return "before" if model["id"] == plan["id"] else "after"
    if same(model["change"], plan["after"]):
        return "after"
    return "before" if same(model["change"], plan["before"]) else "other"


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two bodies serve a model alike."""
    return {**one, "expected": None} == {**other, "expected": None}


def _plan(model: Mapping[str, Any], fields: Mapping[str, Any], says: str) -> Plan:
    before = model["change"]
    return {
        "kind": KIND,
        "model": model["name"],
        "id": model["id"],
        "before": before,
        "after": {**before, **fields},
        "says": says,
    }
