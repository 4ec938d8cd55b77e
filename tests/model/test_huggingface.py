from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgehone.errors import ModelError
from edgehone.model import inspect

Write = Callable[[Path, Mapping[str, tuple[str, tuple[int, ...]]]], None]
Configure = Callable[..., Path]


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        inspect(path)
    return f"{caught.value.message} | {caught.value.hint}"


def test_a_whole_model(folder: Path) -> None:
    info = inspect(folder)
    assert (info.architecture, info.model_type, info.task) == ("LlamaForCausalLM", "llama", "text-generation")
    assert info.parameters == 512
    assert info.dtypes == {"BF16": 256, "F32": 256}
    assert info.bytes == (folder / "model.safetensors").stat().st_size
    assert (info.layers, info.heads, info.kv_heads, info.head_dim) == (2, 4, 2, 2)
    assert (info.vocabulary, info.context, info.intermediate_size) == (32, 64, 16)
    assert info.kv_bytes_per_token == 2 * 2 * 2 * 2 * 2
    assert info.tied_embeddings is False
    assert info.files == ("config.json", "model.safetensors", "tokenizer.json")
    assert info.tokenizer == "bpe"
    assert not info.remote_code and not info.chat_template and info.quantized is None and info.notes == ()
    json.dumps(info.to_json())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "a JSON list"),
        ("{}", "model_type is None"),
        ('{"model_type": 3}', "model_type is 3"),
        ("version https://git-lfs.example/spec/v1", "git lfs pull"),
    ],
)
def test_a_broken_config(folder: Path, text: str, said: str) -> None:
    (folder / "config.json").write_text(text)
    answer = refused(folder)
    assert said in answer and "config.json" in answer


@pytest.mark.parametrize("value", [0, -1, "12", 1.5, True, {}, 2**70])
def test_a_size_that_is_none_is_named(configure: Configure, value: object) -> None:
    assert "num_hidden_layers is" in refused(configure(num_hidden_layers=value))


def test_other_families_names(configure: Configure) -> None:
    gone = dict.fromkeys(
        ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
         "num_key_value_heads", "max_position_embeddings")
    )  # fmt: skip
    info = inspect(
        configure(**gone, n_layer=3, n_embd=12, n_head=3, n_positions=9, architectures=["GPT2LMHeadModel"])
    )
    assert (info.layers, info.hidden_size, info.heads, info.kv_heads, info.head_dim) == (3, 12, 3, 3, 4)
    assert (info.context, info.task) == (9, "text-generation")


def test_multimodal_sizes_come_from_the_language_model(configure: Configure) -> None:
    nested = {"num_hidden_layers": 7, "vocab_size": 99}
    info = inspect(configure(text_config=nested, architectures=["GemmaForConditionalGeneration"]))
    assert (info.layers, info.vocabulary, info.task) == (7, 99, "unknown")
    assert "multimodal" in info.notes[0]


def test_experts_and_windows(configure: Configure) -> None:
    info = inspect(configure(num_local_experts=8, num_experts_per_tok=2, sliding_window=16))
    assert (info.experts, info.experts_per_token, info.sliding_window) == (8, 2, 16)
    assert inspect(configure(sliding_window=16, use_sliding_window=False)).sliding_window is None


def test_latent_attention_has_no_simple_cache(configure: Configure) -> None:
    info = inspect(configure(kv_lora_rank=512))
    assert info.kv_bytes_per_token is None
    assert "latent" in info.notes[0]


def test_a_model_without_attention_has_no_cache_figure(configure: Configure) -> None:
    info = inspect(configure(num_attention_heads=None, num_key_value_heads=None, model_type="mamba"))
    assert info.kv_bytes_per_token is None and "unknown" in info.notes[0]


def test_linear_layers_keep_no_cache(configure: Configure) -> None:
    info = inspect(configure(layer_types=["linear_attention", "full_attention"]))
    assert info.kv_bytes_per_token == 16
    assert "1 of 2 layers" in info.notes[0]


def test_tied_embeddings(configure: Configure, write: Write, folder: Path) -> None:
    assert inspect(configure(tie_word_embeddings=True)).tied_embeddings is True
    write(folder / "model.safetensors", {"embed.weight": ("F16", (4, 4))})
    assert inspect(configure()).tied_embeddings is None


def test_marks(configure: Configure) -> None:
    place = configure(auto_map={"AutoModel": "modeling_x.X"}, quantization_config={"quant_method": "gptq"})
    (place / "modeling_x.py").write_text("")
    (place / "tokenizer_config.json").write_text('{"chat_template": "{{ x }}"}')
    (place / "README.md").write_text("---\nlicense: mit\n---\n")
    info = inspect(place)
    assert info.remote_code and info.chat_template
    assert (info.quantized, info.licence) == ("gptq", "mit")
    assert {"modeling_x.py", "tokenizer_config.json"} <= set(info.files)
    assert "README.md" not in info.files


def test_a_tokenizer_with_code_of_its_own(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["t.T", null]}}')
    assert inspect(folder).remote_code


def test_pickles_are_refused_with_the_way_out(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    answer = refused(folder)
    assert "runs the code in it" in answer and "safe_serialization=True" in answer


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("adapter_model.safetensors", "adapter"),
        ("consolidated.safetensors", "found consolidated"),
        ("x", "no weights"),
    ],
)
def test_no_weights(folder: Path, name: str, said: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    assert said in refused(folder)


def test_weights_without_a_parameter(folder: Path, write: Write) -> None:
    write(folder / "model.safetensors", {})
    assert "no parameters" in refused(folder)


def test_the_null_model_needs_no_tokenizer(configure: Configure, folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    info = inspect(configure(model_type="null", architectures=["NullForCausalLM"]))
    assert (info.tokenizer, info.format) == ("bytes", "huggingface")


@pytest.fixture
def sharded(folder: Path, write: Write) -> Path:
    (folder / "model.safetensors").unlink()
    write(folder / "a.safetensors", {"x": ("F16", (2, 2)), "y": ("F16", (2,))})
    write(folder / "b.safetensors", {"z": ("F32", (5,))})
    index(folder, {"x": "a.safetensors", "y": "a.safetensors", "z": "b.safetensors"})
    return folder


def index(folder: Path, weight_map: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_added_up(sharded: Path) -> None:
    info = inspect(sharded)
    assert info.parameters == 11
    assert {"a.safetensors", "b.safetensors", "model.safetensors.index.json"} <= set(info.files)
    assert info.bytes == sum((sharded / name).stat().st_size for name in ("a.safetensors", "b.safetensors"))


def test_a_missing_shard(sharded: Path) -> None:
    (sharded / "b.safetensors").unlink()
    answer = refused(sharded)
    assert "b.safetensors is missing" in answer


def test_a_truncated_shard(sharded: Path) -> None:
    shard = sharded / "b.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    answer = refused(sharded)
    assert "b.safetensors" in answer and "truncated" in answer


def test_a_tensor_that_its_shard_lacks(sharded: Path) -> None:
    index(sharded, {"x": "a.safetensors", "lost": "b.safetensors"})
    answer = refused(sharded)
    assert "b.safetensors lacks the tensor 'lost'" in answer


def test_a_tensor_that_the_index_does_not_name(sharded: Path) -> None:
    index(sharded, {"x": "a.safetensors", "z": "b.safetensors"})
    info = inspect(sharded)
    assert info.parameters == 9
    assert "a.safetensors stores 1 tensors" in info.notes[0]


@pytest.mark.parametrize("shard", ["../a.safetensors", "/etc/passwd", "", 3, None, "a\0", "..\\a"])
def test_a_shard_outside_of_the_folder(sharded: Path, shard: object) -> None:
    index(sharded, {"x": shard})
    assert "no file of this folder" in refused(sharded)


@pytest.mark.parametrize("weight_map", [None, {}, []])
def test_an_index_without_a_map(sharded: Path, weight_map: object) -> None:
    index(sharded, weight_map)
    assert "no weight_map" in refused(sharded)


KEYS = st.sampled_from(
    ["architectures", "model_type", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim",
     "layer_types", "sliding_window", "auto_map", "text_config", "quantization_config", "tie_word_embeddings",
     "num_local_experts", "attn_layer_period", "is_encoder_decoder", "multi_query"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_config_is_read_or_refused(configure: Configure, fields: dict[str, object]) -> None:
    place = configure(**fields)
    try:
        json.dumps(inspect(place).to_json())
    except ModelError as error:
        assert "config.json" in error.message
