"""Interpreters that an environment variable names."""

from __future__ import annotations

import json
import subprocess
import sys


def test_this_very_interpreter_tells_what_another_process_would() -> None:
    code = (
        "import json, pathlib, sys; from edgehone.execution.environments import overrides\n"
        "print(json.dumps(overrides.versions('x', pathlib.Path(sys.executable), ())))"
    )
    told = [
        json.loads(
            subprocess.run(
                [sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True
            ).stdout
        )
        for flags in (["-I"], [])
    ]
    assert told[0] == told[1] and told[0]["python"].startswith("3.")
