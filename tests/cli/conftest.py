"""One run of the command line on the null backend, shared by all tests, and a way to run further commands."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.null import backend
from edgehone.cli import main
from edgehone.inputs.texts import shipped
from tests.once import filled_once
from tests.rates import know_rates
from tests.tiny import TINY

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Shell:
    """A folder with a model, its settings and EDGEHONE_HOME; `made` is the outcome of the first command."""

    place: Path
    made: Done

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of every command. Output is buffered, as it is outside of tests."""
        return {**os.environ, "EDGEHONE_HOME": str(self.place / "home"), "PYTHONUNBUFFERED": ""}

    def command(self, *words: str) -> list[str]:
        """Return the command line of `edgehone WORDS`."""
        return [sys.executable, "-m", "edgehone.cli.main", *words]

    def type(self, *words: str) -> Done:
        """Run `edgehone WORDS` in the folder, in this process. It does not see what a child prints: `run` does."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.place)
            patch.setenv("EDGEHONE_HOME", str(self.place / "home"))
            with redirect_stdout(out), redirect_stderr(err):
                try:
                    code: Any = main.main(words)
                except SystemExit as exit_:  # of argparse, after --help and --version
                    code = exit_.code
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def run(self, *words: str) -> Done:
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
    """A folder in which `edgehone optimize model --out bundle --json` was run."""

    def fill(place: Path) -> None:
        backend.make_model(place / "model", shipped("calibration").read_text("utf-8"))
        (place / "tiny.toml").write_text(TINY)
        know_rates(place / "home")
        done = Shell(place, subprocess.CompletedProcess([], 0)).run(*OPTIMIZE, "--out", "bundle", "--json")
        (place / "done.json").write_text(json.dumps([done.args, done.returncode, done.stdout, done.stderr]))

    place = filled_once(tmp_path_factory, "shell", fill)
    return Shell(place, subprocess.CompletedProcess(*json.loads((place / "done.json").read_text())))
