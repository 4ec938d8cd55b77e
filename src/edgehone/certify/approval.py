"""The approval: yes, conditional, or no.

no           a required check failed
conditional  a required check is undecided or was skipped; another check did not pass; or an item of the check-list that
             comes before the deployment is not done. Each is a condition.
yes          none of these
"""

from __future__ import annotations

from collections.abc import Sequence

from edgehone.attestation.certificate import Approval, CheckResult, ListItem


def approve(checks: Sequence[CheckResult], checklist: Sequence[ListItem]) -> tuple[Approval, tuple[str, ...]]:
    """Return the approval, and its conditions, or what forbids it."""
    failed = [
        f"{one.name} failed: {one.reason}" for one in checks if one.required and one.outcome == "failed"
    ]
    if failed:
        return "no", tuple(failed)
    conditions = [
        f"{one.name} is {one.outcome}: {one.reason}" for one in checks if one.outcome not in ("passed",)
    ]
    conditions += [
        f"{one.text} ({one.name}): {one.answer}"
        for one in checklist
        if one.phase == "before" and not one.done
    ]
    return ("conditional" if conditions else "yes"), tuple(conditions)
