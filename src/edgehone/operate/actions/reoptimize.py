"""Optimize on the recent samples that a server kept, in a process of its own that outlives this program.

`edgehone reoptimize` certifies the result and offers it in the registry as challenger if it is proven better; it is
promoted by a person. The same call goes on where a killed one was.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from edgehone.core.errors import JobError
from edgehone.operate.actions.plan import Case, Holds, Plan
from edgehone.operate.options import Options

KIND = "reoptimize"


def plan(case: Case, options: Options, folder: Path) -> Plan | str:
    """Plan it; or return why it is not offered. `folder` is that of the operation's state."""
    if options.samples is None or options.samples_key is None:
        return "the server's kept samples are not given: --samples and --samples-key-file"
    model = case.look.models[case.model]
    out = folder.absolute() / "challengers" / f"{case.model}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    words = [
        "reoptimize", model["change"]["path"], "--state", str(options.samples.absolute()), "--samples-key-file",
        str(options.samples_key.absolute()), "--model", case.model, "--out", str(out),
    ]  # fmt: skip
    words += ["--registry", options.registry] if options.registry else []
    words += ["--blobs", str(options.blobs)] if options.blobs else []
    words += ["--key", str(options.signing_key)] if options.signing_key else []
    words += ["--profile", str(options.profile.absolute())] if options.profile else []
    words += ["--soak", options.soak] if options.soak else []
    where = "the registry" if options.registry else str(out)
    return {
        "kind": KIND,
        "model": case.model,
        "words": words,
        "out": str(out),
        "says": f"a challenger in {where}",
    }


def do(plan: Plan) -> None:
    """Start it."""
    out = Path(plan["out"])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _result(plan).open("wb") as result, _log(plan).open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "edgehone.cli.main", *plan["words"], "--json"],
                stdin=subprocess.DEVNULL,
                stdout=result,
                stderr=log,
                start_new_session=True,
            )
        _note(plan).write_text(
            json.dumps({"pid": child.pid, "began": psutil.Process(child.pid).create_time()}), "utf-8"
        )
    except (OSError, psutil.Error) as error:
        raise JobError(f"edgehone reoptimize cannot be started: {error}") from error


def holds(plan: Plan) -> Holds:
    """Return "changing" while it runs, "after" when it has a result, "before" if it ended without one."""
    if _runs(plan):
        return "changing"
    return "before" if outcome(plan) is None else "after"


def outcome(plan: Plan) -> tuple[bool, str] | None:
    """Return whether a better challenger was made, and the reason in a sentence; None without a result."""
    try:
        told: Any = json.loads(_result(plan).read_text("utf-8"))
        return told["outcome"] in ("offered", "better"), f"{told['outcome']}: {told['reason']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def failure(plan: Plan) -> str:
    """Return why it ended without a result."""
    try:
        told = json.loads(_result(plan).read_text("utf-8"))
        return str(told["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"it ended without a result; see {_log(plan)}"


def _runs(plan: Plan) -> bool:
    try:
        noted = json.loads(_note(plan).read_text("utf-8"))
        process = psutil.Process(noted["pid"])
        return process.create_time() == noted["began"] and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, KeyError, psutil.Error):
        return False


def _result(plan: Plan) -> Path:
    return Path(f"{plan['out']}.json")


def _log(plan: Plan) -> Path:
    return Path(f"{plan['out']}.log")


def _note(plan: Plan) -> Path:
    return Path(f"{plan['out']}.process")
