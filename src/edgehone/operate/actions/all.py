"""All kinds of actions: plan, do, look, undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgehone.core.errors import EdgehoneError, JobError
from edgehone.diagnosis.causes import holds as condition_holds
from edgehone.diagnosis.facts import Fact
from edgehone.operate.actions import bundles, group, reoptimize, serving
from edgehone.operate.actions.plan import Case, Holds, Plan, Planned
from edgehone.operate.remedies import Remedy
from edgehone.operate.server import Look, Server

_PLANS: Mapping[str, Callable[[Remedy, Case], Plan | str]] = {
    "settings": serving.settings,
    "limits": serving.limits,
    "restart": serving.restart,
    "bundle": bundles.plan,
    "control_group": group.plan,
    "reoptimize": lambda remedy, case: case.reoptimize(case),
}


def plan_all(remedies: Sequence[Remedy], case: Case) -> list[Planned]:
    """Return each remedy with its plan, or with the reason why it is not offered."""
    return [_planned(one, case) for one in remedies]


def _planned(remedy: Remedy, case: Case) -> Planned:
    for condition in remedy.when:
        fact = case.facts.get(condition["fact"], Fact(None, "unknown"))
        if not condition_holds(condition, fact):
            shown = f"unknown ({fact.reason})" if fact.value is None else fact.value
            return Planned(remedy, None, f"{condition['fact'].replace('_', ' ')} is {shown}")
    try:
        found = _PLANS[remedy.action](remedy, case)
    except EdgehoneError as error:
        return Planned(remedy, None, error.message)
    return Planned(remedy, None, found) if isinstance(found, str) else Planned(remedy, found)


def do(plan: Plan, server: Server) -> None:
    """Do what is planned. Raises EdgehoneError with the reason if it cannot be done."""
    if plan["kind"] == serving.KIND:
        serving.do(plan, server)
    elif plan["kind"] == group.KIND:
        group.do(plan)
    elif plan["kind"] == reoptimize.KIND:
        reoptimize.do(plan)
    else:
        raise JobError(f"there is no action {plan['kind']!r}")


def undo(plan: Plan, server: Server, look: Look) -> None:
    """Undo it. Raises EdgehoneError with the reason if it cannot be undone."""
    if plan["kind"] == serving.KIND:
        serving.undo(plan, server, look)
    elif plan["kind"] == group.KIND:
        group.undo(plan)


def can_be_undone(plan: Plan) -> bool:
    """Return whether there is something to go back to: a new engine of the same bundle is as good as the old one."""
    return plan["kind"] in (serving.KIND, group.KIND) and not plan.get("anew")


def holds(plan: Plan, look: Look) -> Holds:
    """Return whether it is done."""
    if plan["kind"] == serving.KIND:
        return serving.holds(plan, look)
    if plan["kind"] == reoptimize.KIND:
        return reoptimize.holds(plan)
    return group.holds(plan)
