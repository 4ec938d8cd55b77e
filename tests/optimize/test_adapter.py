"""Runs with an adapter: the merged model is made once, again if anything changes, and whole or not there at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.cli.main import main
from edgehone.core.errors import ModelError, SetupError
from edgehone.model.inspect import inspect
from edgehone.optimize.adapter import with_adapter
from edgehone.optimize.options import OptimizeOptions
from tests.disks import small_file_system
from tests.transform.adapters.adapters import Q, base, lora


@pytest.fixture
def options(tmp_path: Path, own_home: Path) -> OptimizeOptions:
    lora(tmp_path / "french", {Q: (8, 8)})
    return OptimizeOptions(base(tmp_path / "tiny"), adapter=tmp_path / "french", effort="quick")


def test_the_merged_model_is_made_once_and_named_after_both(options: OptimizeOptions, own_home: Path) -> None:
    made = with_adapter(options)
    folder = Path(made.model)
    assert folder.parent.parent == own_home / "merged" and folder.name == "tiny-french"
    assert inspect(folder).parameters == inspect(options.model).parameters
    assert "adapter french merged into 1 tensors" in made.notes[0]
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert with_adapter(options).model == made.model
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert options.notes == () and with_adapter(OptimizeOptions("model")) == OptimizeOptions("model")


def test_the_command_repeats_the_run_from_the_base(options: OptimizeOptions) -> None:
    words = with_adapter(options).command()
    assert words[:3] == ["edgehone", "optimize", str(options.model)]
    assert words[words.index("--adapter") + 1] == str(options.adapter)


def test_another_adapter_gives_another_model(options: OptimizeOptions) -> None:
    before = with_adapter(options).model
    lora(Path(str(options.adapter)), {Q: (8, 8)}, lora_alpha=3)
    assert with_adapter(options).model != before


def test_what_a_killed_merge_left_is_replaced(options: OptimizeOptions, own_home: Path) -> None:
    folder = Path(with_adapter(options).model)
    whole = (folder / "model.safetensors").read_bytes()
    (folder.parent / "edgehone-merge.json").unlink()  # it is written last
    (folder / "model.safetensors").write_bytes(whole[:100])
    assert Path(with_adapter(options).model) == folder
    assert (folder / "model.safetensors").read_bytes() == whole


def test_a_full_disk_leaves_nothing(options: OptimizeOptions, own_home: Path) -> None:
    place = own_home / "merged"
    with small_file_system(place, "8k"):
        with pytest.raises(SetupError) as caught:
            with_adapter(options)
        assert caught.value.hint and not list(place.rglob("*.safetensors"))


def test_an_adapter_for_another_base_ends_the_run_with_code_2(
    options: OptimizeOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora(tmp_path / "french", {Q: (12, 8)}, base_model_name_or_path="acme/large")
    with pytest.raises(ModelError, match="is an adapter for acme/large, not for"):
        with_adapter(options)
    code = main(
        ["optimize", str(options.model), "--adapter", str(options.adapter), "--out", str(tmp_path / "b")]
    )
    said = capsys.readouterr().err
    assert code == 2 and "is an adapter for acme/large" in said and "Traceback" not in said
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ollama:none"], "Ollama has no model"),
        (["lmstudio:a/b"], "LM Studio has no model"),
        (["acme/none"], "--download"),
        (["acme/none", "--revision", "v1"], "--revision v1 without --download"),
        (["tiny", "--download", "--revision", "x"], "neither a folder nor a hub name"),
    ],
)
def test_models_that_are_not_there_end_with_code_2(
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    assert main(["optimize", *words, "--out", str(tmp_path / "b")]) == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err
