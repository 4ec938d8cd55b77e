"""One run of the whole command line on the null backend, made once, and how to type another command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgehone.backends.null import backend
from edgehone.inputs.texts import shipped
from tests.tiny import TINY

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Shell:
    """A folder with a model, its settings and EDGEHONE_HOME; `made` is what the first command printed."""

    place: Path
    made: Done

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of every command: output is buffered as it is for people."""
        return {**os.environ, "EDGEHONE_HOME": str(self.place / "home"), "PYTHONUNBUFFERED": ""}

    def command(self, *words: str) -> list[str]:
        """What is run for `edgehone WORDS`."""
        return [sys.executable, "-m", "edgehone.cli.main", *words]

    def type(self, *words: str) -> Done:
        """Run `edgehone WORDS` in the folder, as a process of its own."""
        return subprocess.run(
            self.command(*words),
            cwd=self.place,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )


OPTIMIZE = ["optimize", "model", "--workload", "tiny", "--effort", "quick", "--backends", "null"]
OPTIMIZE += ["--config", "tiny.toml"]


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Where `edgehone optimize model --out bundle --json` was typed."""
    place = tmp_path_factory.mktemp("shell")
    backend.make_model(place / "model", shipped("calibration").read_text("utf-8"))
    (place / "tiny.toml").write_text(TINY)
    begun = Shell(place, subprocess.CompletedProcess([], 0))
    return Shell(place, begun.type(*OPTIMIZE, "--out", "bundle", "--json"))
