"""Pipelines of the null backend that measure as little as a stage needs, and what tests ask of their records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends.null import backend
from edgehone.inputs.texts import shipped
from edgehone.pipeline.record import Record
from tests.rates import know_rates
from tests.tiny import TINY

FILES = Path(__file__).with_name("files")
STAGES = (
    "model_validation",
    "optimization",
    "testing",
    "staging_deployment",
    "production_deployment",
    "monitoring",
)
PROFILE = """
[measure]
windows = 12
perturbed = 8
long_windows = 6
samples = 64
latency_seconds = 1.0
rounds = 2
stress_seconds = 0.6
soak_seconds = 2.0
[checks.overload_latency]
required = false
threshold = 1000.0
[checks.latency_p50]
required = false
[checks.latency_p95]
required = false
[checks.latency_p99]
required = false
[checks.throughput]
required = false
[checks.memory_returns]
required = false
"""
WHOLE = """
edge_ai_pipeline:
  stages: [model_validation, optimization, testing, staging_deployment, production_deployment, monitoring]
  model: {path: null-model, workload: tiny, config: tiny.toml}
  registry: {where: registry}
  model_validation: {accuracy_threshold: 0.9, performance_baseline: required}
  optimization: {frameworks: ["null"], effort: quick, when_busy: measure, gates: [speedup=off, memory_cut=off]}
  testing: {profile: profile.toml}
  staging_deployment: {seconds: 0.3, clients: 2}
  deployment: {seconds: 0.3, monitoring: real_time}
"""
DEPLOYMENT = """
edge_ai_pipeline:
  stages: [staging_deployment, production_deployment]
  model: {name: tiny}
  registry: {where: registry}
  staging_deployment: {seconds: 0.2, clients: 2}
  deployment: {seconds: 0.2}
"""
_CARD = (
    "# Null\n\nlicense: Do as you like.\n\n"
    + "A bigram table over bytes, for tests of what is around backends. " * 4
)


@dataclass(frozen=True)
class Place:
    """A folder with a pipeline file, in which `edgehone` is run as a process of its own."""

    path: Path
    home: Path

    def command(self, *words: str) -> list[str]:
        """Return the command line of `edgehone pipeline WORDS`."""
        return [sys.executable, "-m", "edgehone.cli.main", "pipeline", *words]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command."""
        return {**os.environ, "EDGEHONE_HOME": str(self.home)}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*words),
            cwd=self.path,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command whose output goes nowhere."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def registry(self, *words: str) -> Any:
        """Return what an action of `edgehone registry` prints as JSON, None if it fails."""
        command = [sys.executable, "-m", "edgehone.cli.main", "registry", *words]
        command += ["--registry", str(self.path / "registry"), "--json"]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        return json.loads(done.stdout) if done.returncode == 0 else None


def whole(folder: Path) -> Place:
    """Return a place with a model of the null backend and a file of six stages."""
    place = Place(folder, know_rates(folder / "home"))
    model = backend.make_model(folder / "null-model", shipped("calibration").read_text("utf-8"))
    (model / "LICENSE").write_text("Do as you like.\n")
    (model / "README.md").write_text(_CARD)
    (folder / "tiny.toml").write_text(TINY)
    (folder / "profile.toml").write_text(PROFILE)
    (folder / "whole.yaml").write_text(WHOLE)
    return place


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return the outcome of each stage of a run with --json; "unchanged" for those that were skipped."""
    stages = json.loads(done.stdout)["stages"]
    return {one["stage"]: "unchanged" if one["skipped"] else one["outcome"] for one in stages}


def passed_twice(out: Path) -> list[tuple[str, str]]:
    """Return the stages, with their keys, that have passed more than once."""
    counts = Counter(
        (stage, key) for _, _, stage, happened, key in Record(out).events() if happened == "passed"
    )
    return [one for one, count in counts.items() if count > 1]


def processes_about(path: Path) -> list[str]:
    """Return the command lines of the processes whose words name something below a folder."""
    found = []
    for one in Path("/proc").iterdir():
        if one.name.isdigit() and int(one.name) != os.getpid():
            try:
                words = (one / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(path) in words:
                found.append(words)
    return found
