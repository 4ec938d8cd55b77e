"""Mixed-precision assignments in each framework's form, and what was written instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends import registry
from edgehone.backends.base import (
    Step,
)
from edgehone.backends.llamacpp import mixed_precision as llamacpp_mix
from edgehone.backends.mlx import mixed_precision as mlx_mix
from edgehone.backends.olive import mixed_precision as olive_mix
from edgehone.backends.openvino import mixed_precision as openvino_mix
from edgehone.backends.openvino.mixed_precision import Matrix
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.model.inspect import inspect
from edgehone.transform.precision import assign
from edgehone.transform.precision.assign import Assignment, Option, error_key

RunWorker = Callable[..., dict[str, Any]]


def assignment(**types: str) -> Assignment:
    named = {name.replace("__", "."): Option(kind, 4, 64, 4.5) for name, kind in types.items()}
    return Assignment(named, 1, 4.5, 0.1, 0.0)


def test_llama_quantize_options_match_whole_tensor_names() -> None:
    found = assignment(blk__1__attn_q__weight="q4_K", token_embd__weight="q6_K", output__weight="q8_0")
    assert llamacpp_mix.options(found) == [
        "--tensor-type",
        r"^blk\.1\.attn_q\.weight$=q4_K",
        "--token-embedding-type",
        "q6_K",
        "--output-tensor-type",
        "q8_0",
    ]


def test_mlx_widths_are_compared_with_the_written_configuration() -> None:
    found = assignment(a="5-bit g64", b="4-bit g128", c="3-bit g32")
    assert mlx_mix.widths(found) == {"a": [5, 64], "b": [4, 128], "c": [3, 32]}
    quantization = {
        "bits": 4,
        "group_size": 128,
        "a": {"bits": 5, "group_size": 64},
        "c": {"bits": 4, "group_size": 32},
    }
    facts = mlx_mix.facts(found, {"quantization": quantization})["mix"]
    assert facts["fallbacks"] == {"c": "3-bit g32 → 4-bit g32"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A measured table of a layer and of tied embeddings."""
    row = {"rows": 64, "columns": 256, "kind": "linear", "kl": 0.1, "errors": {}}
    rows = [
        {**row, "name": "model.layers.0.mlp.up_proj"},
        {**row, "name": "model.embed_tokens", "kind": "tied"},
    ]
    (tmp_path / assign.TABLE).write_text(json.dumps({"tensors": rows}), "utf-8")
    return tmp_path


def test_olive_overrides_only_weights_that_its_passes_quantize(table: Path) -> None:
    job = WorkerJob({}, {"sensitivity": table}, table, None, 1, lambda fraction, what: None)
    kinds = {
        "model.layers.0.mlp.up_proj": "4 bits in blocks of 32",
        "model.embed_tokens": "8 bits in blocks of 128",
    }
    found = Assignment({name: Option(kind, 4, 32, 5.0) for name, kind in kinds.items()}, 1, 4.5, 0.1, 0.0)
    assert olive_mix.overrides(found, job) == {"model.layers.0.mlp.up_proj": {"bits": 4, "group_size": 32}}


def test_builder_nodes_are_matched_whether_fused_or_not() -> None:
    names = ["layers.0.self_attn.q_proj", "layers.0.self_attn.k_proj", "layers.0.self_attn.v_proj"]
    names += ["layers.0.mlp.up_proj", "embed_tokens", "layers.1.mlp.up_proj"]
    options = {f"model.{name}": Option("4 bits in blocks of 32", 4, 32, 5.0) for name in names}
    found = Assignment(options, 1, 4.5, 0.1, 0.0)
    four, eight = {"bits": 4, "block_size": 32}, {"bits": 8, "block_size": 128}
    nodes = [
        ("/model/layers.0/attn/qkv_proj/MatMul", four),
        ("/model/layers.0/mlp/up_proj/MatMul_Q4", eight),
        ("/lm_head/MatMul", four),
    ]
    assert olive_mix.facts(found, nodes)["mix"]["fallbacks"] == {
        "model.layers.0.mlp.up_proj": "4 bits in blocks of 32 → 8 bits in blocks of 128",
        "model.layers.1.mlp.up_proj": "4 bits in blocks of 32 → not found",
    }


def test_a_matrix_gets_the_type_of_the_module_that_reads_it() -> None:
    found = assignment(model__layers__1__mlp__up_proj="u4 g32", model__embed_tokens="i4 g64")
    one = Matrix(("__module.model.layers.1.mlp.up_proj/ov_ext::linear/MatMul",), "f16")
    assert openvino_mix._type(one, found) == "u4 g32"
    tied = Matrix(
        ("__module.model.embed_tokens/aten::embedding/Gather", "__module.lm_head/ov_ext::linear/MatMul"),
        "f16",
    )
    assert openvino_mix._type(tied, found) == "i4 g64"
    # Block 11 is not block 1, and unassigned matrices get 8 bits.
    other = replace(one, readers=("__module.model.layers.11.mlp.up_proj/ov_ext::linear/MatMul",))
    assert openvino_mix._type(other, found) == "u8"


def shapes() -> dict[str, tuple[int, int]]:
    """Return the shapes of the demo model's matrices."""
    layer = {"self_attn.q_proj": (256, 256), "self_attn.k_proj": (128, 256), "self_attn.v_proj": (128, 256)}
    layer |= {"self_attn.o_proj": (256, 256), "mlp.gate_proj": (768, 256), "mlp.up_proj": (768, 256)}
    layer |= {"mlp.down_proj": (256, 768)}
    named = {f"model.layers.{at}.{name}": shape for at in range(4) for name, shape in layer.items()}
    return {"model.embed_tokens": (2048, 256), **named}


@pytest.fixture
def inputs_of_steps(demo_model: Path, tmp_path: Path) -> dict[str, Path]:
    """Inputs of the steps: the demo model, a short calibration text, and a made-up sensitivity table."""
    calibration, measured = tmp_path / "calibration", tmp_path / "measured"
    calibration.mkdir()
    measured.mkdir()
    (calibration / "ids.json").write_text(json.dumps([(7 * i * i + 3) % 2000 + 10 for i in range(2400)]))
    (calibration / "bos.json").write_text("[1]")
    (calibration / "calibration.txt").write_text("We hold these truths to be self-evident. " * 200)
    rows = [
        {
            "name": name,
            "rows": rows,
            "columns": columns,
            "kind": "tied" if "embed" in name else "linear",
            "kl": 0.01 if "embed" in name or "v_proj" in name else 0.0005,
            "errors": {
                error_key(bits, group): 4.0 ** (4 - bits) * ((group or columns) / 64) ** 0.5
                for bits in assign.BITS
                for group in assign.GROUPS
            },
        }
        for name, (rows, columns) in shapes().items()
    ]
    (measured / assign.TABLE).write_text(json.dumps({"tensors": rows}))
    return {"model": demo_model, "calibration": calibration, "sensitivity": measured}


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "most"),
    [("llamacpp", 2_400_000), ("openvino", 2_980_000), ("olive", 2_790_000), ("mlx", 2_270_000)],
)
def test_written_types_match_the_assignment_within_the_budget(
    name: str, most: int, inputs_of_steps: dict[str, Path], run_worker: RunWorker, tmp_path: Path
) -> None:
    backend = registry.load(name)
    recipe = next(
        candidate
        for candidate in backend.recipes(inspect(inputs_of_steps["model"]))
        if "mix" in candidate.build
    )
    recipe = replace(recipe, build={**recipe.build, "mix": {"bytes": most}})
    facts_by_call: dict[str, dict[str, Any]] = {}

    def run(step: Step) -> Path:
        step_inputs = {name: run(source) for name, source in step.inputs.items()}
        out = tmp_path / f"{step.call.rpartition(':')[2]}"
        if step.call not in facts_by_call:
            step_inputs |= {name: inputs_of_steps[name] for name in step.reads}
            facts_by_call[step.call] = run_worker(name, step.call, dict(step.params), step_inputs, out)
        return out

    last = backend.steps(recipe)
    size = sum(path.stat().st_size for path in run(last).rglob("*") if path.is_file())
    mix = facts_by_call[last.call]["mix"]
    assert mix["fallbacks"] == {} and mix["kl_gap"] == 0.0
    assert len(mix["types"]) == len(shapes()) and len(set(mix["types"].values())) > 2
    assert 0.96 * most < size <= most
