from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgehone.core.errors import ModelError
from edgehone.model.digest import digest_model
from edgehone.model.info import Tensor
from edgehone.model.inspect import inspect

Write = Callable[[Path, Mapping[str, tuple[str, tuple[int, ...]]]], None]
Configure = Callable[..., Path]


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        inspect(path)
    return f"{caught.value.message} | {caught.value.hint}"


def test_a_complete_model(folder: Path) -> None:
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
def test_an_invalid_size_is_refused_with_its_field(configure: Configure, value: object) -> None:
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
    nested = {"num_hidden_layers": 7, "vocab_size": 32}
    info = inspect(configure(text_config=nested, architectures=["GemmaForConditionalGeneration"]))
    assert (info.layers, info.vocabulary, info.task) == (7, 32, "unknown")
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


def test_linear_layers_have_no_cache(configure: Configure) -> None:
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


def test_a_tokenizer_with_remote_code(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["t.T", null]}}')
    assert inspect(folder).remote_code


def test_pickles_are_refused_with_a_conversion_command(folder: Path) -> None:
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


def test_a_tensor_missing_from_its_shard_is_refused(sharded: Path) -> None:
    index(sharded, {"x": "a.safetensors", "lost": "b.safetensors"})
    answer = refused(sharded)
    assert "b.safetensors lacks the tensor 'lost'" in answer


def test_a_tensor_missing_from_the_index_is_not_counted(sharded: Path) -> None:
    index(sharded, {"x": "a.safetensors", "z": "b.safetensors"})
    info = inspect(sharded)
    assert info.parameters == 9
    assert "a.safetensors stores 1 tensors" in info.notes[0]


@pytest.mark.parametrize("shard", ["../a.safetensors", "/etc/passwd", "", 3, None, "a\0", "..\\a"])
def test_a_shard_outside_of_the_folder(sharded: Path, shard: object) -> None:
    index(sharded, {"x": shard})
    assert "not a file in this folder" in refused(sharded)


@pytest.mark.parametrize("weight_map", [None, {}, []])
def test_an_index_without_a_map(sharded: Path, weight_map: object) -> None:
    index(sharded, weight_map)
    assert "no weight_map" in refused(sharded)


def encoder(configure: Configure, model_type: str, architecture: str, **fields: object) -> Path:
    place = configure(model_type=model_type, architectures=[architecture], **fields)
    (place / "tokenizer.json").write_text('{"model": {"type": "WordPiece", "vocab": {}}}')
    return place


def test_a_bert(configure: Configure) -> None:
    info = inspect(encoder(configure, "bert", "BertModel", type_vocab_size=2))
    assert (info.task, info.kind, info.kv_bytes_per_token) == ("feature-extraction", "graph", None)
    both = ("batch", "sequence")
    assert info.inputs == tuple(
        Tensor(name, "int64", both) for name in ("input_ids", "attention_mask", "token_type_ids")
    )
    assert info.outputs == (Tensor("last_hidden_state", "float32", (*both, 8)),)
    assert info.notes == ()


@pytest.mark.parametrize(
    ("model_type", "fields", "told", "given"),
    [
        ("bert", {}, None, True),
        ("bert", {}, ["input_ids", "attention_mask"], False),
        ("roberta", {"type_vocab_size": 1}, None, False),
        ("distilbert", {}, None, False),
        ("modernbert", {}, ["input_ids", "token_type_ids"], False),
        ("deberta-v2", {"type_vocab_size": 2}, None, True),
    ],
)
def test_token_types(
    configure: Configure, model_type: str, fields: dict[str, object], told: list[str] | None, given: bool
) -> None:
    place = encoder(configure, model_type, "XModel", **fields)
    (place / "tokenizer_config.json").write_text(json.dumps({"model_input_names": told} if told else {}))
    assert ("token_type_ids" in [tensor.name for tensor in inspect(place).inputs]) == given


def test_a_classifier(configure: Configure) -> None:
    names = {"0": "NEGATIVE", "1": "NEUTRAL", "2": "POSITIVE"}
    info = inspect(encoder(configure, "distilbert", "DistilBertForSequenceClassification", id2label=names))
    assert (info.task, info.outputs) == ("text-classification", (Tensor("logits", "float32", ("batch", 3)),))
    assert info.notes == ("3 labels: NEGATIVE, NEUTRAL, POSITIVE",)
    assert inspect(encoder(configure, "bert", "BertForSequenceClassification")).outputs[0].shape[1] == 2
    assert "num_labels is 0" in refused(
        encoder(configure, "bert", "BertForSequenceClassification", num_labels=0)
    )


@pytest.mark.parametrize(
    ("model_type", "architecture", "task"),
    [
        ("roberta", "RobertaForMaskedLM", "feature-extraction"),
        ("bert", "BertForPreTraining", "feature-extraction"),
        ("bert", "BertForTokenClassification", "unknown"),
        ("bert", "BertLMHeadModel", "text-generation"),
        ("llama", "LlamaForSequenceClassification", "unknown"),
    ],
)
def test_heads_of_encoders(configure: Configure, model_type: str, architecture: str, task: str) -> None:
    decoder = architecture == "BertLMHeadModel"
    info = inspect(encoder(configure, model_type, architecture, is_decoder=decoder))
    assert info.task == task
    if task == "feature-extraction":
        assert any(architecture in note and "left out" in note for note in info.notes)


def test_distilbert_has_names_of_its_own(configure: Configure) -> None:
    gone = dict.fromkeys(("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"))
    fields = {**gone, "n_layers": 3, "dim": 12, "hidden_dim": 48, "n_heads": 3}
    info = inspect(encoder(configure, "distilbert", "DistilBertModel", **fields))
    assert (info.layers, info.hidden_size, info.intermediate_size, info.heads) == (3, 12, 48, 3)


def test_sentence_transformers(configure: Configure) -> None:
    place = encoder(configure, "bert", "BertModel")
    modules = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (place / "modules.json").write_text(json.dumps(modules))
    (place / "1_Pooling").mkdir()
    pooling = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (place / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    info = inspect(place)
    assert {"modules.json", "1_Pooling/config.json"} <= set(info.files)
    assert "Transformer → mean pooling → Normalize" in info.notes[0]
    digest_model(info)
    (place / "modules.json").write_text(json.dumps([{"path": "../x", "type": "Dense"}]))
    assert "not in this folder" in refused(place)
    for text in ("{}", "[3]", "["):
        (place / "modules.json").write_text(text)
        assert "modules.json" in refused(place)


VISION = {
    "vision_config": {"model_type": "siglip", "num_hidden_layers": 5},
    "text_config": {"num_hidden_layers": 7},
}


def test_images_and_text(configure: Configure, folder: Path) -> None:
    named = {"architectures": ["Gemma3ForConditionalGeneration"], **VISION}
    info = inspect(configure(**named))
    assert info.task == "unknown" and any("no image processor" in note for note in info.notes)
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "X"}')
    info = inspect(configure(**named))
    assert (info.task, info.kind, info.layers) == ("image-text-to-text", "language", 7)
    assert "parts: text (7 layers), vision (siglip, 5 layers)" in info.notes
    assert info.kv_bytes_per_token is not None
    mixed = {**VISION, "text_config": {"is_encoder_decoder": True}}
    assert inspect(configure(**{**named, **mixed})).task == "unknown"
    assert inspect(configure(**named, is_encoder_decoder=True)).task == "unknown"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_local_experts": 8, "num_experts_per_tok": 2}, "8 in all 6 layers, 2 per token"),
        ({"num_experts": 64, "num_experts_per_tok": 8, "decoder_sparse_step": 2, "mlp_only_layers": [3],
          "shared_expert_intermediate_size": 32}, "64 in 2 of 6 layers (1, 5), 8 per token; 1 shared"),
        ({"n_routed_experts": 256, "n_shared_experts": 2, "first_k_dense_replace": 3},
         "256 in 3 of 6 layers (3–5); 2 shared"),
        ({"num_local_experts": 16, "interleave_moe_layer_step": 2, "model_type": "llama4_text"},
         "16 in 3 of 6 layers (1, 3, 5); 1 shared"),
        ({"num_experts": 4, "expert_layer_period": 2, "expert_layer_offset": 0}, "4 in 3 of 6 layers (0, 2, 4)"),
        ({"moe_num_experts": 4, "moe_layer_start_index": 1, "moe_layer_end_index": 2, "moe_k": 6},
         "4 in 2 of 6 layers (1–2), 6 per token"),
        ({"num_experts": 4, "moe_layers": [1, 4]}, "4 in 2 of 6 layers (1, 4)"),
        ({"num_experts": 4, "mlp_layer_types": ["dense", *["sparse"] * 5]}, "4 in 5 of 6 layers (1–5)"),
        ({"ffn_config": {"moe_num_experts": 16, "moe_top_k": 4}}, "16 in all 6 layers, 4 per token"),
    ],
)  # fmt: skip
def test_where_the_experts_are(configure: Configure, fields: dict[str, object], said: str) -> None:
    info = inspect(configure(num_hidden_layers=6, **fields))
    assert info.experts == int(said.split(maxsplit=1)[0])
    assert any(note.startswith(f"mixture of experts: {said}") for note in info.notes)


@pytest.mark.parametrize("fields", [{"num_experts": 0}, {"enable_moe_block": False, "num_experts": 8}])
def test_dense_members_of_sparse_families(configure: Configure, fields: dict[str, object]) -> None:
    info = inspect(configure(**fields))
    assert info.experts is None and info.notes == ()


KEYS = st.sampled_from(
    ["architectures", "model_type", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim",
     "layer_types", "sliding_window", "auto_map", "text_config", "quantization_config", "tie_word_embeddings",
     "num_local_experts", "attn_layer_period", "is_encoder_decoder", "multi_query",
     "vision_config", "ffn_config", "mlp_only_layers", "moe_layers", "mlp_layer_types", "expert_layer_period",
     "first_k_dense_replace", "decoder_sparse_step", "n_shared_experts", "id2label", "num_labels", "type_vocab_size",
     "is_decoder", "problem_type", "model_input_names"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


KINDS = st.sampled_from(
    [
        ("llama", "LlamaForCausalLM"),
        ("bert", "BertModel"),
        ("bert", "BertForSequenceClassification"),
        ("gemma3", "GemmaForConditionalGeneration"),
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=2000)
@given(kind=KINDS, fields=st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_config_is_read_or_refused(
    configure: Configure, kind: tuple[str, str], fields: dict[str, object]
) -> None:
    named = {"model_type": kind[0], "architectures": [kind[1]], "num_experts": 4}
    place = configure(**{**named, **fields})
    try:
        json.dumps(inspect(place).to_json())
    except ModelError as error:
        assert "config.json" in error.message
