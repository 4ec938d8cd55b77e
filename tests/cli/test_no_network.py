"""Everything works on a machine without a network: run where there is none but what the kernel simulates."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import edgehone
from edgehone.backends import registry
from edgehone.execution.environments import environment as environments
from edgehone.execution.home import home
from tests.rates import know_rates
from tests.tiny import TINY

from .conftest import OPTIMIZE, Shell

REACH = "import socket; socket.create_connection(('192.0.2.1', 9), 1)"
# The command line, with one recipe of llama.cpp: more of them show nothing else here.
FEW_RECIPES = """
import sys
from edgehone.backends.llamacpp import backend
from edgehone.cli.main import main
every = backend.recipes
backend.recipes = lambda model: [one for one in every(model) if one.name == "F16"]
sys.exit(main())
"""


@functools.cache
def _cut_off() -> tuple[str, ...] | None:
    """The words that run a command in a namespace without a network, or None where that is not permitted."""
    if shutil.which("unshare"):
        for words in (("unshare", "-n"), ("unshare", "-r", "-n")):
            if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
                return words
    return None


@pytest.fixture
def cut_off() -> tuple[str, ...]:
    words = _cut_off()
    if words is None:
        pytest.skip("`unshare -n`, which takes the network away, is not permitted here")
    tried = subprocess.run([*words, sys.executable, "-c", REACH], capture_output=True, text=True, check=False)
    assert "Network is unreachable" in tried.stderr
    return words


def typed(words: list[str], place: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.whole
def test_a_null_model_is_optimized_without_a_network(
    shell: Shell, cut_off: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "model").symlink_to(shell.place / "model")
    environment = {**shell.environment, "EDGEHONE_HOME": str(know_rates(tmp_path / "home"))}
    done = typed([*cut_off, *shell.command(*OPTIMIZE, "--out", "bundle")], tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert edgehone.verify(edgehone.read(tmp_path / "bundle")) == []


@pytest.fixture
def linked(tmp_path: Path) -> dict[str, str]:
    """Environment variables with a home that only links to the environments and the toolchain that are in place."""
    for name in ("pytorch", "llamacpp"):
        environments.ensure(name, registry.load(name).NEEDS, lambda what: None)
    own = tmp_path / "home"
    own.mkdir()
    for part in ("envs", "toolchains"):
        (own / part).symlink_to(home() / part)
    return {**os.environ, "EDGEHONE_HOME": str(own)}


@pytest.mark.real
def test_a_model_is_converted_and_continues_a_text_without_a_network(
    linked: dict[str, str], cut_off: tuple[str, ...], tmp_path: Path
) -> None:
    """The short form of the next test: text by the original and by a build of it, in processes that start cold."""
    words = [sys.executable, "-m", "edgehone.cli.main", "backends", "check", "pytorch", "llamacpp", "--json"]
    done = typed([*cut_off, *words], tmp_path, linked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("The people of") == 2


@pytest.mark.real
@pytest.mark.long
def test_a_language_model_is_optimized_and_run_without_a_network(
    tiny_families: Callable[[str], Path], linked: dict[str, str], cut_off: tuple[str, ...], tmp_path: Path
) -> None:
    """Environments and a toolchain that are in place need no network, even from a home that only links to them."""
    words = ["optimize", str(tiny_families("llama")), "--effort", "quick", "--backends", "llamacpp"]
    # The test is that it runs. The speed of a busy machine and the quality of random weights must not decide.
    for gate in ("speedup", "latency_cv", "memory_cut", "accuracy_kept"):
        words += ["--gate", f"{gate}=off"]
    (tmp_path / "edgehone.toml").write_text(
        TINY.replace("window = 64", "window = 128")
        .replace("rounds = 3", "rounds = 2")
        .replace("budget = 10.0", "budget = 1.0")
    )
    words += ["--workload", "tiny", "--out", "bundle"]
    done = typed([*cut_off, sys.executable, "-c", FEW_RECIPES, *words], tmp_path, linked)
    assert done.returncode == 0, done.stderr
    assert "no environment" not in done.stdout
    decision = edgehone.read(tmp_path / "bundle").decision
    assert {one.backend for one in decision.candidates if one.status == "ok"} == {"llamacpp"}
    words = ["run", "bundle", "--prompt", "The captain looked at the sea and", "--max-tokens", "20"]
    done = typed([*cut_off, sys.executable, "-m", "edgehone.cli.main", *words], tmp_path, linked)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 3
