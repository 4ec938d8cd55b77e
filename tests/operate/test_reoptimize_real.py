"""The loop end to end with real engines: a sensor is set otherwise, and the ranges of a static bundle are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgehone
from edgehone.cli import main
from edgehone.model.demo import demo_graph
from edgehone.registry.names import Reference
from edgehone.registry.session import find, open_registry
from tests.serve.server import Server, running

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.xdist_group("measures")]
DIGITS = demo_graph()
# Other programs run at the same time, and the digits have no licence file: neither is what is tested.
PROFILE = "[measure]\nlatency_seconds = 5\nrounds = 2\nstress_seconds = 1\n" + "".join(
    f"[checks.{name}]\nrequired = false\n"
    for name in (
        "licence", "notices", "model_card", "latency_p50", "latency_p95", "latency_p99", "throughput", "memory",
        "overload", "overload_latency", "start", "memory_returns", "recovery", "latency_trend", "memory_trend",
    )
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, measuring_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a champion, whose ranges were calibrated on images from 0 to 1."""
    monkeypatch.setenv("EDGEHONE_HOME", str(measuring_home))
    folder = DIGITS.parent
    edgehone.optimize(
        DIGITS, evaluation=folder / "evaluation.npz", calibration=folder / "calibration.npz", effort="quick",
        backends=["olive"], gates=["gain=off", "loss=off"], minimize=["bytes"], when_busy="measure",
        out=tmp_path / "champion",
    )  # fmt: skip
    (tmp_path / "samples.key").write_text("cd" * 32)
    (tmp_path / "samples.key").chmod(0o600)
    (tmp_path / "profile.toml").write_text(PROFILE)
    (tmp_path / "serve.toml").write_text(
        f"drift_requests = 700\nkeep_samples = 1600\nstate = {json.dumps(str(tmp_path / 'state'))}\n"
        f"samples_key_file = {json.dumps(str(tmp_path / 'samples.key'))}\n"
        f"[bundles.champion]\npath = {json.dumps(str(tmp_path / 'champion'))}\n"
    )
    return tmp_path


def ask(server: Server, count: int, gain: float, random: np.random.Generator) -> float:
    """Send images and the labels of the answers; return the accuracy."""
    with np.load(DIGITS.parent / "evaluation.npz") as file:
        images, labels = file["image"], file["labels"]
    right = 0
    for _ in range(count):
        at = int(random.integers(len(images)))
        x = (gain * (images[at : at + 1] + random.normal(0, 0.02, (1, 1, 8, 8)))).astype(np.float32)
        number = f"q{random.integers(1 << 60)}"
        tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": x.ravel().tolist()}
        answer = server.post("/v2/models/champion/infer", {"id": number, "inputs": [tensor]})
        assert answer.status_code == 200, answer.text
        told = server.post("/v1/feedback", {"id": number, "label": int(labels[at])})
        right += bool(told.json()["correct"])
    return right / count


def test_a_champion_with_wrong_ranges_is_replaced_by_one_that_decides_as_the_original(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(5)
    with running(place / "serve.toml", as_config=True) as server:
        clean = ask(server, 1000, 1.0, random)
        assert server.metric("edgehone_drift_alarm") == 0
        drifted = ask(server, 800, 4.0, random)
        assert server.metric("edgehone_drift_alarm") > 0
        assert server.end() == 0
    assert drifted < clean - 0.05
    capsys.readouterr()
    words = [
        "reoptimize", place / "champion", "--state", place / "state", "--samples-key-file", place / "samples.key",
        "--registry", place / "registry", "--name", "digits", "--out", place / "next", "--profile",
        place / "profile.toml", "--soak", "5s", "--original", DIGITS, "--json",
    ]  # fmt: skip
    code = main.main([str(one) for one in words])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == 0 and found["outcome"] == "offered", found["reason"]
    judged = found["judged"]
    assert judged["gain"]["low"] > 0 and judged["p"] <= 0.05
    assert judged["figures"]["challenger_decisions_kept"]["value"] > 0.97
    with open_registry(str(place / "registry")).database.reading() as connection:
        assert find(connection, Reference("digits", alias="challenger")).reference == found["version"]
