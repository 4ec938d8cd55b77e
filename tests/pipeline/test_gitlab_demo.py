"""GitLab's pipeline of the mission's file on the demo model, run by gitlab-ci-local: its success, and two sabotages."""

from __future__ import annotations

import shutil
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
# Other tests run at the same time: no speed is required, and as little as the file allows is measured.
CHANGES = (
    "optimization.effort=quick",
    "optimization.when_busy=measure",
    "optimization.gates=[speedup=off, memory_cut=off, latency_cv=off]",
    "testing.soak=10s",
)
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

    pickle = tmp_path / "demo-model" / "weights.pkl"
    pickle.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    _stops(gitlab, place, record, "model_validation")
    pickle.unlink()
    file.write_text(right.replace("speedup=off", "speedup=1000"))
    _stops(gitlab, place, record, "optimization")


def _stops(gitlab: Any, place: Place, record: Record, stage: str) -> None:
    """Run it again: this stage must fail, and none after it may begin."""
    before = len(record.events())
    done = run_gitlab(gitlab, place, 1200)
    assert done.returncode != 0
    happened = begun(record, before)
    assert happened[-1] == (stage, "failed"), (done.stdout + done.stderr)[-3000:]
    assert {one for one, _ in happened} <= set(SEVEN[: SEVEN.index(stage) + 1])
