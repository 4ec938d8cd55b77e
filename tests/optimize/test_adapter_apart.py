"""LoRA adapters in a file beside the base: refused by name where they cannot be, else equal to the merged model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import edgehone
from edgehone.backends import registry
from edgehone.backends.base import Recipe, Step
from edgehone.backends.llamacpp import backend as llamacpp
from edgehone.cli.main import main
from edgehone.core.errors import InputError, ModelError
from edgehone.formats.safetensors import read_header
from edgehone.inference.run_bundle import generate
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.optimize.adapter import ADAPTER, BASE, kept_apart, with_adapter
from edgehone.optimize.options import OptimizeOptions
from edgehone.plan.plan import plan
from tests.finished import list_again
from tests.recipes import FEW_ROUNDS
from tests.serve.server import running
from tests.transform.adapters.adapters import Q, base, load, lora, save

TINY = f"{FEW_ROUNDS}windows = 4\nwindow = 128\n[workloads.tiny]\nprompt_tokens = 32\ngenerated_tokens = 8\n"
# The original, which needs the memory that it needs, is not to be chosen.
GATES = ("speedup=off", "memory_cut=0.5", "accuracy_kept=off", "latency_cv=off")


@pytest.fixture
def options(tmp_path: Path, own_home: Path) -> OptimizeOptions:
    lora(tmp_path / "french", {Q: (8, 8)})
    return OptimizeOptions(base(tmp_path / "tiny"), adapter=tmp_path / "french", keep_adapter=True)


def test_steps_get_the_base_and_the_adapter(options: OptimizeOptions) -> None:
    merged = with_adapter(options)
    inputs = kept_apart(merged)
    assert inputs[BASE].path == Path(options.model) and inputs[ADAPTER].path == options.adapter
    assert merged.model != options.model and "--keep-adapter" in merged.command()
    assert kept_apart(options) == {}  # nothing is merged yet
    lora(Path(str(options.adapter)), {Q: (8, 8)}, lora_alpha=3)
    assert kept_apart(with_adapter(options))[ADAPTER].identity != inputs[ADAPTER].identity


def test_only_recipes_that_keep_it_apart_are_planned(demo_model: Path) -> None:
    model = inspect(demo_model)
    backends = {name: registry.load(name) for name in ("llamacpp", "openvino", "mlx", "olive")}
    made = plan(model, backends, "thorough", keep_adapter=True)
    assert made.backends == ["llamacpp"] and any(one.exact for one in made.recipes)
    assert set(made.refused) == {"openvino", "mlx", "olive"}
    assert all("does not keep an adapter apart" in reason for reason in made.refused.values())
    for recipe in made.recipes:
        reads = _reads(llamacpp.steps(recipe))
        assert {"base", "adapter"} <= reads and "model" not in reads, recipe.name
        assert "the adapter apart costs" in recipe.why


def _reads(step: Step) -> set[str]:
    return set(step.reads).union(*(_reads(one) for one in step.inputs.values()))


def test_what_can_only_be_merged_is_refused_by_name(options: OptimizeOptions, tmp_path: Path) -> None:
    folder = Path(str(options.adapter))
    whole = {name: ("F32", array) for name, array in load(folder).items()}
    table = load(tmp_path / "tiny")["model.embed_tokens.weight"]
    save(
        folder / "adapter_model.safetensors",
        {**whole, "base_model.model.model.embed_tokens.modules_to_save.default.weight": ("F32", table)},
    )
    with pytest.raises(ModelError, match=r"replaces the tensor model\.embed_tokens\.weight") as caught:
        with_adapter(options)
    assert "--keep-adapter" in (caught.value.hint or "")
    lora(folder, {Q: (8, 8)}, fan_in_fan_out=True)
    with pytest.raises(ModelError, match="fan_in_fan_out"):
        with_adapter(options)


def test_wrong_uses_end_with_code_2(
    options: OptimizeOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="without an adapter"):
        with_adapter(OptimizeOptions(options.model, keep_adapter=True))
    lora(tmp_path / "french", {Q: (12, 8)}, base_model_name_or_path="acme/large")
    words = ["optimize", str(options.model), "--adapter", str(options.adapter), "--keep-adapter"]
    assert main([*words, "--out", str(tmp_path / "b")]) == 2
    said = capsys.readouterr().err
    assert "is an adapter for acme/large" in said and "Traceback" not in said


@pytest.mark.real
@pytest.mark.long
@pytest.mark.xdist_group("measures")
def test_it_gives_what_the_merged_model_gives(
    demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_home: Path
) -> None:
    """Queries and keys are permuted in llama.cpp's file; two scales by pattern are in the adapter's file.

    The base is trained: a random one has near ties, which llama-server and libllama decide otherwise with an adapter.
    """
    monkeypatch.setenv("EDGEHONE_HOME", str(real_home))
    every = llamacpp.adapter_recipes

    def some(model: ModelInfo) -> list[Recipe]:
        return [one for one in every(model) if one.name in ("F16", "Q8_0")]

    monkeypatch.setattr(llamacpp, "adapter_recipes", some)
    model = _in_float32(demo_model, tmp_path / "base")
    shapes = {
        name.removesuffix(".weight"): one.shape
        for name, one in read_header(model / "model.safetensors").items()
        if "_proj" in name
    }
    adapter = lora(tmp_path / "lora", shapes, rank=4, lora_alpha=0.04, alpha_pattern={"q_proj": 0.02})  # type: ignore[arg-type]
    (tmp_path / "tiny.toml").write_text(TINY)
    out = tmp_path / "bundle"
    decision = edgehone.optimize(
        model, adapter=adapter, keep_adapter=True, workload="tiny", effort="quick", backends=["llamacpp"],
        gates=GATES, out=out, config_file=tmp_path / "tiny.toml",
    )  # fmt: skip
    [proven] = decision.conversions
    assert proven.passed, proven.reason
    assert proven.kl_mean.value is not None and proven.kl_mean.value < 1e-4
    bundle = edgehone.read(out)
    assert {one.name for one in bundle.artifact.glob("*.gguf")} == {"model.gguf", "adapter.gguf"}
    ran = generate(bundle, "Once upon a time", 8, quiet=True)
    with running(out) as server:
        assert (
            server.complete("Once upon a time", max_tokens=8, temperature=0)["choices"][0]["text"]
            == ran["text"]
        )
    bare = tmp_path / "bare"
    shutil.copytree(out, bare)
    (bare / "artifact" / "adapter.gguf").unlink()
    list_again(bare)
    assert generate(edgehone.read(bare), "Once upon a time", 8, quiet=True)["text"] != ran["text"]


def _in_float32(model: Path, folder: Path) -> Path:
    """A copy of a checkpoint in float32, in which the merge rounds nothing that shows."""
    shutil.copytree(model, folder)
    save(folder / "model.safetensors", {name: ("F32", array) for name, array in load(model).items()})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))
    return folder
