"""Encoder-decoders from end to end: optimized by two backends, judged by their texts, and run."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import pytest

import edgehone
from edgehone.cli.main import main
from edgehone.core.errors import InputError
from edgehone.inference.texts import answer, transcribe
from edgehone.optimize.evaluate.generated import ORIGINAL, STATED
from tests.recipes import FEW_ROUNDS

GATES = ("speedup=off", "memory_cut=off", "latency_cv=off")


@pytest.fixture
def whisper(make_example: Callable[..., Path]) -> Path:
    return make_example("train_tiny_speech.py", "tiny-whisper", "--sounds", "OUT/tones")


def optimized(model: Path, samples: Path, out: Path, backends: list[str]) -> edgehone.Decision:
    config = out.with_suffix(".toml")
    config.write_text(FEW_ROUNDS)
    return edgehone.optimize(
        model,
        evaluation=str(samples),
        effort="quick",
        backends=backends,
        gates=GATES,
        out=out,
        config_file=config,
    )


@pytest.mark.real
@pytest.mark.long
@pytest.mark.xdist_group("measures")
def test_a_whisper_is_judged_by_its_words_and_transcribes(
    whisper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sounds = whisper.parent / "tones"
    decision = optimized(whisper, sounds, tmp_path / "bundle", ["openvino", "olive", "llamacpp", "mlx"])
    by_key = {one.key: one for one in decision.candidates}
    for exact, small in (("openvino/fp32", "openvino/int8_weights"), ("olive/fp32", "olive/int8_dynamic")):
        assert by_key[exact].status == by_key[small].status == "ok", (
            by_key[exact].error,
            by_key[small].error,
        )
        assert by_key[exact].figure(ORIGINAL).value == 0
        assert (
            (by_key[exact].figure("kl_mean").value or 0) < 1e-7 < (by_key[small].figure("kl_mean").value or 0)
        )
        assert (by_key[small].figure(STATED).value or 0) < 0.1
        assert (by_key[small].figure("accuracy_kept").value or 0) > 0.95
    for name in ("llamacpp", "mlx"):
        assert any(note.startswith(f"{name} is not in the plan") for note in decision.notes)

    bundle = edgehone.read(tmp_path / "bundle")
    sound = sorted(sounds.glob("*.wav"))[0]
    told = transcribe(bundle, sound, 60, quiet=True)
    assert told["text"].split() == sound.with_suffix(".txt").read_text().split()
    assert told["ended"]
    assert main(["run", str(bundle.path), "--audio", str(sound)]) == 0
    (tmp_path / "broken.wav").write_bytes(sound.read_bytes()[:30])
    (tmp_path / "empty.wav").write_bytes(b"")
    with wave.open(str(tmp_path / "silent.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
    for name in ("broken.wav", "empty.wav", "silent.wav", "missing.wav"):
        assert main(["run", str(bundle.path), "--audio", str(tmp_path / name)]) == 2
        assert name in capsys.readouterr().err
    assert main(["run", str(bundle.path), "--prompt", "Hello"]) == 2
    assert "--audio" in capsys.readouterr().err


@pytest.mark.real
@pytest.mark.long
@pytest.mark.xdist_group("measures")
def test_a_t5_is_judged_by_its_words_and_answers(make_example: Callable[..., Path], tmp_path: Path) -> None:
    model = make_example("train_tiny_text_to_text.py", "tiny-t5", "--texts", "OUT/numbers.txt")
    decision = optimized(model, model.parent / "numbers.txt", tmp_path / "bundle", ["openvino", "olive"])
    by_key = {one.key: one for one in decision.candidates}
    for exact, small in (("openvino/fp32", "openvino/int8_weights"), ("olive/fp32", "olive/int8_dynamic")):
        assert by_key[exact].status == by_key[small].status == "ok", (
            by_key[exact].error,
            by_key[small].error,
        )
        assert by_key[exact].figure(ORIGINAL).value == 0
        assert (by_key[small].figure(ORIGINAL).value or 0) < 0.2
    bundle = edgehone.read(tmp_path / "bundle")
    assert answer(bundle, "write 3 1 4", 30, quiet=True)["text"].split() == ["three", "one", "four"]
    with pytest.raises(InputError, match="does not recognize speech"):
        transcribe(bundle, tmp_path / "any.wav", 30)
