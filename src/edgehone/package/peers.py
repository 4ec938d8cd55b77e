"""Run a runtime in its own environment, with a script that imports nothing of edgehone, as a check of a package."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.base import Needs
from edgehone.core.errors import EdgehoneError
from edgehone.execution.environments import environment

_SECONDS = 600


class PeerError(Exception):
    """The script failed; the message is the last line that it printed."""


def python_of(name: str, needs: Needs) -> Path | None:
    """Return the interpreter of a backend's environment, None if it is not installed or cannot be used."""
    try:
        env = environment.installed(name, needs)
    except EdgehoneError:
        return None
    return env.python if env else None


def ask(python: Path, script: Path, asked: Mapping[str, Any], scratch: Path) -> Any:
    """Return the JSON that a script prints as its last line; it gets `asked` as JSON. Raises PeerError if it fails."""
    scratch.mkdir(parents=True, exist_ok=True)
    words = [str(python), "-I", str(script)]
    try:
        done = subprocess.run(
            words,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            cwd=scratch,
        )
    except subprocess.TimeoutExpired:
        raise PeerError(f"{script.name} did not end within {_SECONDS} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{script.name} ended with {done.returncode}"]
        raise PeerError(lines[-1][-500:])
    return json.loads(done.stdout.strip().splitlines()[-1])
