"""GitLab runs the mission's file on the demo model, by gitlab-ci-local: its success, and a sabotage of each stage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgehone.cli import main
from edgehone.model.demo import demo_model
from edgehone.pipeline.record import Record
from tests.pipeline.nullpipeline import FILES, STAGES, Place
from tests.pipeline.test_ci import gitlab, needs_gitlab, run_gitlab

__all__ = ["gitlab"]  # a fixture
pytestmark = [pytest.mark.real, pytest.mark.long, needs_gitlab]
# Other tests run at the same time: no speed is required, and as little as the file allows is measured. One of its
# frameworks is built; all of them are by `make demo-all` and its test.
CHANGES = (
    "model.config=quick.toml",
    "model.workload=short",
    "optimization.frameworks=[llama_cpp]",
    "optimization.effort=quick",
    "optimization.when_busy=measure",
    "optimization.gates=[speedup=off, memory_cut=off, latency_cv=off]",
    "testing.profile=profile.toml",
    "testing.soak=10s",
)
QUICK = """
[efforts.quick]
rounds = 2
seconds = 0.05
budget = 20.0
patience = 0.0
[workloads.short]
prompt_tokens = 64
generated_tokens = 16
"""
PROFILE = """
[measure]
perturbed = 4
latency_seconds = 1.0
rounds = 2
stress_seconds = 0.6
[checks]
latency_p50.required = false
latency_p95.required = false
latency_p99.required = false
throughput.required = false
latency_trend.required = false
memory_returns.required = false
start.threshold = 240.0
recovery.threshold = 240.0
"""
# A seventh stage: the phone of the mission's other file, for the framework that wins on a CPU.
ANDROID = """
mobile_deployment:
  android:
    framework: llama_cpp
    packaging: {format: gguf, apk_size: <100MB}
"""
SEVEN = (*STAGES[:3], "packaging", *STAGES[3:])


def begun(record: Record, before: int) -> list[tuple[str, str]]:
    """Return stages and what happened to them since an event, without those that were skipped as unchanged."""
    return [(one[2], one[3]) for one in record.events()[before:] if one[3] not in ("begun", "skipped")]


def test_gitlab_runs_the_missions_file_on_the_demo_model(
    gitlab: Path, real_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(demo_model(), tmp_path / "demo-model")
    (tmp_path / "edge.yaml").write_text((FILES / "edge_ai_pipeline.yaml").read_text("utf-8") + ANDROID)
    (tmp_path / "quick.toml").write_text(QUICK)
    (tmp_path / "profile.toml").write_text(PROFILE)
    monkeypatch.chdir(tmp_path)
    assert main.main(["pipeline", "init", "edge.yaml", "--ci", "gitlab"]) == 0
    file, place, record = (
        tmp_path / ".gitlab-ci.yml",
        Place(tmp_path, real_home),
        Record(tmp_path / "edge-run"),
    )
    changes = " ".join(f'--set "{one}"' for one in CHANGES)
    words = f'--out "$RUN" --model demo-model --registry registry {changes}'
    right = file.read_text().replace('--out "$RUN"', words)
    file.write_text(right)
    done = run_gitlab(gitlab, place, 3000)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert {name: one.outcome for name, one in record.results().items()} == dict.fromkeys(SEVEN, "passed")
    assert [stage for stage, happened in begun(record, 0) if happened == "passed"] == list(SEVEN)
    assert list((tmp_path / "edge-run" / "packages" / "android").rglob("*.apk"))

    _sabotage(gitlab, place, record)


def _sabotage(gitlab: Path, place: Place, record: Record) -> None:
    """Sabotage each stage, the last one first, so that those before it have passed and are skipped."""
    file, edge = place.path / ".gitlab-ci.yml", place.path / "edge.yaml"
    right, asked = file.read_text(), edge.read_text()

    def with_words(old: str, new: str) -> Iterator[None]:
        assert old in right
        file.write_text(right.replace(old, new))
        yield
        file.write_text(right)

    def stands_in_the_way(path: Path) -> Iterator[None]:
        """A file where a folder is to be."""
        kept = path.rename(path.with_name(f"{path.name}.kept"))
        path.touch()
        yield
        path.unlink()
        kept.rename(path)

    def too_demanding() -> Iterator[None]:
        """More than a million times the throughput that the decision states."""
        profile = place.path / "profile.toml"
        profile.write_text(PROFILE.replace("throughput.required = false", "throughput.threshold = 1e6"))
        yield
        profile.write_text(PROFILE)

    def too_small() -> Iterator[None]:
        assert "apk_size: <100MB" in asked
        edge.write_text(asked.replace("apk_size: <100MB", "apk_size: <100KB"))
        yield
        edge.write_text(asked)

    def code_in_the_model() -> Iterator[None]:
        pickle = place.path / "demo-model" / "weights.pkl"
        pickle.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        yield
        pickle.unlink()

    (place.path / "operators").write_text("key\n")
    (place.path / "operators").chmod(0o600)
    nobody = " --set deployment.server=http://127.0.0.1:9 --set deployment.admin_key_file=operators"
    soak = '--set "testing.soak=10s"'
    for stage, sabotage in (
        ("monitoring", stands_in_the_way(place.path / "edge-run" / "monitoring")),
        ("production_deployment", with_words(soak, soak + nobody)),
        ("staging_deployment", stands_in_the_way(place.path / "registry")),
        ("packaging", too_small()),
        ("testing", too_demanding()),
        ("optimization", with_words("speedup=off", "speedup=1000")),
        ("model_validation", code_in_the_model()),
    ):
        next(sabotage)
        _stops(gitlab, place, record, stage)
        next(sabotage, None)


def _stops(gitlab: Any, place: Place, record: Record, stage: str) -> None:
    """Run it again: this stage must fail, none before it may run again, and none after it may begin."""
    before = len(record.events())
    done = run_gitlab(gitlab, place, 1200)
    said = (done.stdout + done.stderr)[-4000:]
    assert done.returncode != 0, said
    assert begun(record, before) == [(stage, "failed")], said
