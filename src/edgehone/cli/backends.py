"""List the backends, install them, or check that they work.

`install` installs the environments ahead of their first use. `check` runs inference with a tiny model in each backend.
`conform` runs the conformance suite, which third-party backends must pass too. Exit code 1 if any of them fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.backends.base import Backend
    from edgehone.core.errors import EdgehoneError
    from edgehone.worker.conformance.outcome import Outcome

EXAMPLE = """examples:
  edgehone backends
  edgehone backends install llamacpp openvino
  edgehone backends check
  edgehone backends conform openvino
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "install", "check", "conform"),
        default="list",
        help="what to do (default: list)",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="backends to use (default: all)")


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 1 if a backend fails in install, check or conform."""
    from edgehone.backends import registry

    if args.action == "conform":
        return _conform(args.names or registry.names(), as_json=args.json)
    backends = registry.load_all(args.names or None)
    rows = _ACTIONS[args.action](backends)
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print(_line(row))
    return 1 if any("error" in row for row in rows) else 0


def _list(backends: Mapping[str, Backend]) -> list[dict[str, Any]]:
    from edgehone.backends.capabilities import capabilities_of
    from edgehone.execution.environments import environment

    states = {name: environment.state(name, backend.NEEDS) for name, backend in backends.items()}
    return [
        {
            "name": name,
            "state": state.state,
            "reason": state.reason,
            "versions": dict(state.versions),
            "bytes": state.bytes,
            "capabilities": capabilities_of(backends[name]),
        }
        for name, state in states.items()
    ]


def _install(backends: Mapping[str, Backend]) -> list[dict[str, Any]]:
    from edgehone.execution.executor import LocalExecutor
    from edgehone.optimize.environments import ensure_environments

    _, unready = ensure_environments(LocalExecutor(), backends, _print_progress)
    return [
        _failed(row["name"], unready[row["name"]]) if row["name"] in unready else row
        for row in _list(backends)
    ]


def _check(backends: Mapping[str, Backend]) -> list[dict[str, Any]]:
    from edgehone.conformance.selfcheck import selfcheck
    from edgehone.core.errors import EdgehoneError

    rows = []
    for name in backends:
        try:
            facts = selfcheck(name, partial(_print_progress, name))
        except EdgehoneError as error:
            rows.append(_failed(name, error))
        else:
            rows.append({"name": name, "state": "works", **facts})
    return rows


def _conform(names: Sequence[str], *, as_json: bool) -> int:
    from edgehone.backends import registry
    from edgehone.conformance.suite import conform

    for name in names:
        registry.module_name(name)  # an unknown name fails before anything slow
    outcomes, capabilities = {}, {}
    for name in names:
        outcomes[name] = conform(name, partial(_print_progress, name))
        capabilities[name] = _capabilities(name)
        if not as_json:
            print("\n".join(_report(name, capabilities[name], outcomes[name])), flush=True)
    if as_json:
        rows = [
            {"name": name, "capabilities": capabilities[name], "checks": [one.to_json() for one in some]}
            for name, some in outcomes.items()
        ]
        print(json.dumps(rows, indent=1))
    return 1 if any(one.state == "fail" for some in outcomes.values() for one in some) else 0


def _capabilities(name: str) -> list[str]:
    """The backend's optional capabilities; none for a module that is not a backend, which the checks report."""
    from edgehone.backends import registry
    from edgehone.backends.capabilities import capabilities_of
    from edgehone.core.errors import SetupError

    try:
        return capabilities_of(registry.load(name))
    except SetupError:
        return []


def _report(name: str, capabilities: Sequence[str], outcomes: Sequence[Outcome]) -> list[str]:
    """Return one line per check, the requirement below each failed one, and the counts."""
    has = f"capabilities: {', '.join(capabilities) or 'none'}"
    lines = [name, *textwrap.wrap(has, 100, initial_indent="  ", subsequent_indent=" " * 8)]
    for one in outcomes:
        lines += textwrap.wrap(
            f"{one.state}  {one.check:40}  {one.seen}", 100, initial_indent="  ", subsequent_indent=" " * 8
        )
        if one.state == "fail":
            lines += textwrap.wrap(
                f"required: {one.demand}", 100, initial_indent=" " * 8, subsequent_indent=" " * 8
            )
    states = [one.state for one in outcomes]
    counts = (("pass", "passed"), ("fail", "failed"), ("skip", "skipped"))
    totals = [f"{states.count(state)} {word}" for state, word in counts if state in states]
    return [*lines, f"{name}: {', '.join(totals)}"]


def _failed(name: str, error: EdgehoneError) -> dict[str, Any]:
    return {"name": name, "state": "failed", "error": error.message, "hint": error.hint}


def _print_progress(name: str, detail: str) -> None:
    print(f"{name}: {detail}", file=sys.stderr, flush=True)


_ACTIONS: Mapping[str, Callable[[Mapping[str, Backend]], list[dict[str, Any]]]] = {
    "list": _list,
    "install": _install,
    "check": _check,
}


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['name']:12} {row['state']:8}"]
    if row.get("bytes"):
        parts.append(f"{row['bytes'] / 1e6:6.0f} MB")
    if row.get("versions"):
        parts.append(", ".join(f"{name} {version}" for name, version in sorted(row["versions"].items())))
    parts += [str(row[name]) for name in ("reason", "error") if row.get(name)]
    parts += [repr(row["text"])] if row.get("text") else []
    if row.get("hint"):
        parts.append(f"→ {row['hint']}")
    return "  ".join(parts)
