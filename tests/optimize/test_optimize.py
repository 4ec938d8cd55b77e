"""The main job from end to end on the null backend: what it decides, and what it refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import edgehone
from edgehone.backends.base import Recipe
from edgehone.backends.null import backend
from edgehone.cli import main
from edgehone.core.errors import (
    InputError,
    ModelError,
    TextError,
)
from edgehone.core.events import Event
from edgehone.decision.errors import (
    NothingPasses,
)
from edgehone.inputs.texts import shipped
from tests.optimize.test_survives import finished


@pytest.fixture(scope="module")
def text() -> str:
    return shipped("calibration").read_text("utf-8")


def optimize(
    model: Path, config: Path, out: Path | None = None, *gates: str, **more: Any
) -> edgehone.Decision:
    options: dict[str, Any] = {"workload": "tiny", "effort": "quick", "backends": ["null"], **more}
    return edgehone.optimize(model, gates=gates, out=out, config_file=config, **options)


def test_the_library_decides_and_writes_a_bundle(
    own_home: Path, null_model: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    decision = optimize(null_model, config, out)
    assert decision.chosen == "null/q8"  # q4 loses too much accuracy, f32 is not twice as fast
    by_key = {candidate.key: candidate for candidate in decision.candidates}
    assert set(by_key) == {"null/f32", "null/q8", "null/q4"}
    failing = {key: [v.gate for v in c.verdicts if not v.ok] for key, c in by_key.items()}
    assert failing["null/q8"] == []
    assert "accuracy_kept" in failing["null/q4"]
    assert failing["null/f32"] == ["speedup"]
    assert by_key["null/f32"].figure("kl_mean").value == pytest.approx(0, abs=1e-12)
    (proven,) = decision.conversions
    assert proven.passed and proven.token_ids_equal and (proven.compared, proven.vocabulary) == (257, 257)
    assert (proven.max_error.value, proven.mean_error.value, proven.same_top.value) == (0.0, 0.0, 1.0)
    energy = decision.baseline.figure("energy_j")
    assert energy.value is not None or energy.reason

    bundle = edgehone.read(out)
    assert edgehone.verify(bundle) == []
    assert bundle.decision == decision
    assert (out / "evidence" / "null__q8" / "tokens.npz").exists()
    rounds = json.loads((out / "evidence" / "null__q8" / "samples.json").read_text())["rounds"]
    assert len(rounds) >= 3 and all(one["requests"] for one in rounds)
    schema = json.loads(
        Path(edgehone.__file__).with_name("data").joinpath("decision.schema.json").read_text()
    )
    jsonschema.validate(json.loads((out / "decision.json").read_text()), schema)
    assert "edgehone optimize" in (out / "reproduce.sh").read_text()


def test_other_files_in_the_folder_do_not_count_and_a_second_run_redoes_nothing(
    own_home: Path, null_model: Path, config: Path
) -> None:
    (null_model / "notes.pdf").write_bytes(b"x" * (1 << 20))
    first = optimize(null_model, config)
    counted = ("config.json", "model.safetensors")
    assert first.baseline.bytes == sum((null_model / name).stat().st_size for name in counted)
    jobs = finished(own_home)
    again = optimize(null_model, config)
    assert finished(own_home) == jobs
    assert again.candidates == first.candidates


def test_failing_recipes_are_told_and_the_others_go_on(
    own_home: Path, config: Path, tmp_path: Path, text: str
) -> None:
    model = backend.make_model(tmp_path / "faulty", text, ["crash", "nan"])
    decision = optimize(model, config)
    assert decision.chosen == "null/q8"
    crashed, nan = decision.candidate("null/crash"), decision.candidate("null/nan")
    assert crashed.status == "failed"
    assert crashed.error == "crashed with SIGABRT: error: the null backend was asked to crash"
    assert crashed.log is not None and "asked to crash" in Path(crashed.log).read_text()
    assert nan.status == "failed" and nan.error is not None and "non-finite logits" in nan.error
    assert "no weight is beyond float16's 65504" in nan.error


def test_an_exact_build_that_is_not_the_original_disqualifies_the_backend(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = backend.recipes

    def lying(model: edgehone.ModelInfo) -> list[Recipe]:
        rest = honest(model)[1:]
        return [Recipe("null", "f32", {"bits": 2}, effort="quick", exact=True), *rest]

    monkeypatch.setattr(backend, "recipes", lying)
    with pytest.raises(NothingPasses) as caught:
        optimize(null_model, config)
    assert {c.status for c in caught.value.decision.candidates} == {"disqualified"}
    (lie,) = caught.value.decision.conversions
    assert (lie.backend, lie.key, lie.token_ids_equal, lie.passed) == ("null", "null/f32", True, False)
    assert (lie.max_error.value or 0) > (lie.mean_error.value or 0) > 0.1
    assert (lie.kl_mean.value or 0) > 1e-3 and "diverges by" in lie.reason
    assert "parity check" in (caught.value.decision.candidates[0].error or "")


def test_an_exact_build_that_fails_is_told_in_the_table_of_conversions(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = backend.recipes

    def crashing(model: edgehone.ModelInfo) -> list[Recipe]:
        broken = Recipe("null", "f32", {"bits": 32, "fault": "crash"}, effort="quick", exact=True)
        return [broken, *honest(model)[1:]]

    monkeypatch.setattr(backend, "recipes", crashing)
    with pytest.raises(NothingPasses) as caught:
        optimize(null_model, config)
    (lost,) = caught.value.decision.conversions
    assert (lost.passed, lost.token_ids_equal, lost.compared) == (False, None, None)
    assert lost.max_error.value is None and "asked to crash" in (lost.max_error.reason or "")


def test_if_nothing_passes_the_nearest_is_named_and_the_best_that_keeps_the_quality_written(
    own_home: Path, null_model: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    with pytest.raises(NothingPasses, match="speedup") as caught:
        optimize(null_model, config, out, "speedup=1000")
    assert caught.value.exit_code == 3
    decision = caught.value.decision
    assert decision.chosen is None and decision.fallback is not None
    written = edgehone.read(out)
    assert (
        not written.manifest.approved
        and written.manifest.recipe["name"] == decision.fallback.partition("/")[2]
    )
    assert edgehone.verify(written) == []
    assert "Not approved" in (out / "report.html").read_text("utf-8")
    with pytest.raises(NothingPasses):
        optimize(null_model, config, tmp_path / "none", "speedup=1000", fallback=False)
    assert not (tmp_path / "none").exists()


def test_the_original_is_the_bundle_where_no_candidate_keeps_the_quality(
    own_home: Path, null_model: Path, config: Path, tmp_path: Path
) -> None:
    with pytest.raises(NothingPasses) as caught:
        optimize(null_model, config, tmp_path / "out", subject_to=["accuracy_kept>=1.9"])
    assert caught.value.decision.fallback == "null/original"
    assert edgehone.read(tmp_path / "out").manifest.recipe["name"] == "original"


@pytest.mark.whole
def test_the_command_that_is_printed_accepts_the_nearest(
    own_home: Path, null_model: Path, config: Path, tmp_path: Path
) -> None:
    with pytest.raises(NothingPasses) as caught:
        optimize(null_model, config, tmp_path / "out", "speedup=1000", subject_to=["bytes<=1"])
    command = shlex.split((caught.value.hint or "").partition(": ")[2])
    args = [*command[1:], "--json"]
    assert main.main(args) == 0
    assert edgehone.read(tmp_path / "out").manifest.approved


def test_events_tell_each_candidates_way_and_a_target_that_is_not_met_is_a_note(
    own_home: Path, null_model: Path, config: Path
) -> None:
    events: list[Event] = []
    small = optimize(null_model, config, None, "memory_cut=off", targets=["bytes<=1"], emit=events.append)
    assert small.chosen is not None
    assert any(note.startswith("target bytes<=1: not met") for note in small.notes)
    states = [event.state for event in events if event.key == "null/q8" and event.state]
    order = list(dict.fromkeys(states))
    assert order == ["waiting", "building", "scoring", "measuring", "done"]


@pytest.mark.whole
def test_a_backend_that_is_left_out_is_told_but_not_who_runs_originals(
    own_home: Path, null_model: Path, config: Path
) -> None:
    decision = edgehone.optimize(null_model, workload="tiny", effort="quick", config_file=config)
    notes = "\n".join(decision.notes)
    assert "llamacpp is not in the plan: " in notes
    assert "pytorch" not in notes
    named = edgehone.optimize(
        null_model, workload="tiny", effort="quick", backends=["null", "pytorch"], config_file=config
    )
    assert "pytorch is not in the plan: " in "\n".join(named.notes)


def test_a_task_is_scored(own_home: Path, null_model: Path, config: Path, tmp_path: Path) -> None:
    task = tmp_path / "task.jsonl"
    lines = [{"prompt": "the", "choices": [" q", "qz", "zx"], "answer": 0} for _ in range(8)]
    task.write_text("\n".join(json.dumps(line) for line in lines))
    decision = edgehone.optimize(
        null_model, workload="tiny", effort="quick", backends=["null"], config_file=config, task=task
    )
    assert decision.candidate("null/q8").figure("task_accuracy").value == 1.0


def test_bad_input_is_refused_before_anything_slow(
    own_home: Path, null_model: Path, config: Path, tmp_path: Path
) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes("größer".encode("latin-1") * 5000)
    empty = tmp_path / "empty.txt"
    empty.touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()

    def refused(kind: type[edgehone.EdgehoneError], what: str, **given: object) -> None:
        with pytest.raises(kind, match=what) as caught:
            edgehone.optimize(**{"model": null_model, "config_file": config, "workload": "tiny", **given})  # type: ignore[arg-type]
        assert caught.value.exit_code == 2

    refused(ModelError, "nowhere", model=tmp_path / "nowhere")
    refused(TextError, "UTF-8", evaluation=latin)
    refused(TextError, "empty", evaluation=empty)
    refused(TextError, "calibration", evaluation=shipped("calibration"))
    refused(InputError, "did you mean 'null'", backends=["nul"])
    refused(InputError, "unknown workload", workload="tinny")
    refused(InputError, "speedupp", gates=["speedupp=2"])
    refused(InputError, "other files in it", out=tmp_path / "full")
    refused(InputError, "no such file", config_file=tmp_path / "none.toml")
    assert (tmp_path / "full" / "thesis.tex").exists()
    assert not finished(own_home)
