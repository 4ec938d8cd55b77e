from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgehone.core.errors import ModelError
from edgehone.model.digest import digest_model
from edgehone.model.inspect import inspect

F32, F16, Q4_0, Q8_0, Q4_K, Q6_K = 0, 1, 2, 8, 12, 14
_SIZES = {F32: (1, 4), F16: (1, 2), Q4_0: (32, 18), Q8_0: (32, 34), Q4_K: (256, 144), Q6_K: (256, 210)}
KEYS: dict[str, Any] = {
    "general.architecture": "llama",
    "general.file_type": 15,
    "general.license": "apache-2.0",
    "llama.block_count": 2,
    "llama.embedding_length": 256,
    "llama.feed_forward_length": 512,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.context_length": 2048,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "b", "é"],
    "tokenizer.ggml.scores": [0.5, 1.5, 2.5],
    "tokenizer.chat_template": "{{ messages }}",
}
TENSORS = {
    "token_embd.weight": (Q6_K, (256, 3)),
    "blk.0.attn_q.weight": (Q4_K, (256, 256)),
    "norm": (F32, (256,)),
}
Shapes = Mapping[str, tuple[int, tuple[int, ...]]]


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def packed(value: Any) -> bytes:
    """A value with its type before it: as the smallest of what models use."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value) if 0 <= value < 2**32 else struct.pack("<Iq", 11, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    inner = [packed(entry) for entry in value]
    kind = inner[0][:4] if inner else struct.pack("<I", 4)
    return struct.pack("<I", 9) + kind + struct.pack("<Q", len(value)) + b"".join(e[4:] for e in inner)


def write(path: Path, keys: Mapping[str, Any], tensors: Shapes = TENSORS, cut: int = 0) -> None:
    """A GGUF file whose data is a hole; `cut` bytes of it are missing at the end."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(text(key) + packed(value) for key, value in keys.items())
    end = 0
    for name, (kind, dims) in tensors.items():
        block, size = _SIZES[kind]
        head += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, -(-end // 32) * 32)
        count = 1
        for extent in dims:
            count *= extent
        end = -(-end // 32) * 32 + count // block * size
    with path.open("wb") as file:
        file.write(head)
        file.truncate(-(-len(head) // 32) * 32 + end - cut)


def keys(**others: Any) -> dict[str, Any]:
    """KEYS with others: `__` stands for a dot, None leaves a key out."""
    changed = {**KEYS, **{name.replace("__", "."): value for name, value in others.items()}}
    return {name: value for name, value in changed.items() if value is not None}


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        inspect(path)
    assert str(path.parent) in caught.value.message
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "net.gguf"


def test_a_complete_model(place: Path) -> None:
    write(place, KEYS)
    info = inspect(place.parent)
    assert (info.path, info.folder, info.format, info.kind) == (place, place.parent, "gguf", "language")
    assert (info.architecture, info.task, info.quantized, info.licence) == (
        "llama", "text-generation", "Q4_K", "apache-2.0"
    )  # fmt: skip
    assert info.dtypes == {"F32": 256, "Q4_K": 65536, "Q6_K": 768}
    assert (info.parameters, info.bytes, info.files) == (66560, place.stat().st_size, ("net.gguf",))
    assert (info.layers, info.hidden_size, info.intermediate_size, info.heads) == (2, 256, 512, 4)
    assert (info.kv_heads, info.head_dim, info.vocabulary, info.context) == (2, 64, 3, 2048)
    assert info.kv_bytes_per_token == 2 * 2 * (64 + 64) * 2
    assert (info.tokenizer, info.chat_template, info.tied_embeddings) == ("bpe", True, True)
    assert info.notes == ("GGUF version 3", "quantized as Q4_K_M")
    json.dumps(info.to_json())
    assert len(digest_model(info)) == 64


@pytest.mark.parametrize("kind", [F32, F16])
def test_plain_numbers_are_not_quantized(place: Path, kind: int) -> None:
    write(place, keys(general__file_type=1), {"output.weight": (kind, (256, 2))})
    info = inspect(place)
    assert info.quantized is None and info.tied_embeddings is False and "file type F16" in info.notes


def test_experts_and_per_layer_values(place: Path) -> None:
    write(place, keys(llama__expert_count=8, llama__expert_used_count=2, llama__expert_shared_count=1,
                      llama__attention__head_count_kv=[2, 0], llama__attention__key_length=32,
                      llama__attention__value_length=16, llama__feed_forward_length=[512, 1024],
                      llama__attention__sliding_window=128))  # fmt: skip
    info = inspect(place)
    assert (info.experts, info.experts_per_token, info.intermediate_size) == (8, 2, 1024)
    assert (info.kv_heads, info.head_dim, info.sliding_window) == (2, 32, 128)
    assert info.kv_bytes_per_token == 2 * (32 + 16) * 2
    assert any("1 shared experts" in note for note in info.notes)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"llama__attention__kv_lora_rank": 512}, "latent"),
        ({"llama__ssm__state_size": 16}, "some layers"),
        ({"llama__attention__head_count": None, "llama__attention__head_count_kv": None}, "unknown"),
    ],
)
def test_cache_bytes_of_unusual_caches_are_unknown_with_a_note(
    place: Path, others: dict[str, Any], said: str
) -> None:
    write(place, keys(**others))
    info = inspect(place)
    assert info.kv_bytes_per_token is None and any(said in note for note in info.notes)


EACH = 2 * 2 * 2 * 64  # bytes per token of a layer: keys and values, 2 bytes, 2 heads of 64


@pytest.mark.parametrize(
    ("architecture", "others", "cached", "windowed"),
    [
        ("lfm2", {"attention.head_count_kv": [0, 0, 2, 0, 0, 2, 0, 0]}, 2, 0),
        ("qwen3next", {"full_attention_interval": 4, "ssm.state_size": 128}, 2, 0),
        ("falcon-h1", {"ssm.state_size": 128}, 8, 0),
        ("granitehybrid", {"attention.head_count_kv": [0] * 5 + [2, 0, 0], "ssm.state_size": 128}, 1, 0),
        ("gpt-oss", {"attention.sliding_window": 128}, 8, 4),
        ("gemma3", {"attention.sliding_window": 512}, 8, 7),
        ("gemma3n", {"attention.sliding_window": 512, "attention.shared_kv_layers": 3,
                     "attention.sliding_window_pattern": [True, True, True, True, False] + [True] * 3}, 5, 4),
        ("llama", {"attention.sliding_window": 4096}, 8, 0),
    ],
)  # fmt: skip
def test_which_layers_of_each_architecture_have_a_cache(
    place: Path, architecture: str, others: dict[str, Any], cached: int, windowed: int
) -> None:
    plain = {key.replace("llama.", f"{architecture}."): value for key, value in KEYS.items()}
    named = {f"{architecture}.{key}": value for key, value in others.items()}
    stated = {"general.architecture": architecture, f"{architecture}.block_count": 8}
    write(place, {**plain, **stated, **named})
    info = inspect(place)
    assert info.kv_bytes_per_token == EACH * cached and info.kv_windowed_bytes_per_token == EACH * windowed


def test_heads_within_a_window_can_have_another_size(place: Path) -> None:
    write(place, keys(llama__attention__sliding_window=128, llama__attention__sliding_window_pattern=[True, False],
                      llama__attention__key_length_swa=32, llama__attention__value_length_swa=32))  # fmt: skip
    info = inspect(place)
    assert (info.kv_bytes_per_token, info.kv_windowed_bytes_per_token) == (EACH + EACH // 2, EACH // 2)


@pytest.mark.parametrize(
    ("architecture", "task"),
    [("bert", "feature-extraction"), ("nomic-bert", "feature-extraction"), ("t5", "unknown"),
     ("null", "text-generation")],
)  # fmt: skip
def test_tasks(place: Path, architecture: str, task: str) -> None:
    write(place, keys(general__architecture=architecture))
    info = inspect(place)
    assert info.task == task
    assert info.vocabulary == 3


def test_the_vocabulary_without_tokens(place: Path) -> None:
    write(place, keys(tokenizer__ggml__tokens=None))
    assert inspect(place).vocabulary == 3  # rows of token_embd.weight
    write(place, keys(tokenizer__ggml__tokens=None, llama__vocab_size=9))
    assert inspect(place).vocabulary == 9


def test_a_projector_that_is_another_file_is_told(place: Path) -> None:
    write(place, keys())
    assert not any("projector" in note for note in inspect(place).notes)
    place.with_name("mmproj-F16.gguf").touch()
    assert any(
        "the projector that pictures need is in mmproj-F16.gguf" in note for note in inspect(place).notes
    )


def test_a_split_model(tmp_path: Path) -> None:
    names = [f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    write(tmp_path / names[0], keys(split__count=2, split__no=0), {"a": (F16, (256, 2))})
    write(tmp_path / names[1], keys(split__count=2, split__no=1), {"b": (Q8_0, (256, 2))})
    info = inspect(tmp_path)
    assert (info.path, info.files, info.parameters) == (tmp_path / names[0], tuple(names), 1024)
    assert info.bytes == sum((tmp_path / name).stat().st_size for name in names)
    assert names[0] in refused(tmp_path / names[1])
    write(tmp_path / names[1], keys(split__count=2, split__no=1), {"a": (Q8_0, (256, 2))})
    assert "'a' again" in refused(tmp_path / names[0])
    (tmp_path / names[1]).unlink()
    assert f"{names[1]} is missing" in refused(tmp_path / names[0])
    (tmp_path / names[0]).rename(tmp_path / "m.gguf")
    assert "does not say which" in refused(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"general__architecture": None}, "general.architecture is None"),
        ({"general__architecture": 3}, "general.architecture is 3"),
        ({"general__type": "adapter"}, "an adapter"),
        ({"general__type": "imatrix"}, "importance matrix"),
        ({"general__type": "mmproj"}, "a projector"),
        ({"general__architecture": "clip"}, "a projector"),
        ({"llama__block_count": "two"}, "llama.block_count is 'two'"),
        ({"llama__block_count": -2}, "llama.block_count is -2"),
        ({"llama__attention__head_count_kv": [-1, -1]}, "head_count_kv is -1"),
        ({"general__alignment": 3}, "general.alignment is 3"),
    ],
)
def test_invalid_values_are_refused(place: Path, others: dict[str, Any], said: str) -> None:
    write(place, keys(**others))
    assert said in refused(place)


def test_a_truncated_file(place: Path) -> None:
    write(place, KEYS, cut=1)
    assert "truncated: tensor 'norm' ends at byte" in refused(place)


def test_no_weights(place: Path) -> None:
    write(place, KEYS, {})
    assert "no parameters" in refused(place)


HEAD = struct.pack("<4sIQQ", b"GGUF", 3, 1, 0)
HUGE = 2**64 - 1


def info_of(name: str, rank: int, dims: tuple[int, ...], kind: int, start: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", rank, *dims, kind, start)


def one_value(value: bytes) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + text("k") + value + b"\0" * 64


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "too few"),
        (b"GGUF", "too few"),
        (b"x" * 64, "starts with b'xxxx'"),
        (b"version https://git-lfs.example/spec/v1\n", "git lfs pull"),
        (struct.pack("<4sIQQ", b"GGUF", 1, 0, 0), "version 1"),
        (struct.pack("<4sIQQ", b"GGUF", 99, 0, 0), "version 99"),
        (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), "big-endian"),
        (struct.pack("<4sIQQ", b"GGUF", 3, HUGE, 0), "tensors"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, HUGE), "keys exceed the limit"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 2) + b"\0" * 8, "do not fit"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q", HUGE) + b"\0" * 20, "do not fit"),
        (one_value(struct.pack("<I", 77)), "unknown type 77"),
        (one_value(struct.pack("<IIQ", 9, 4, HUGE)), "do not fit"),
        (one_value(struct.pack("<IIQ", 9, 8, HUGE)), "do not fit"),
        (one_value(struct.pack("<IIQQ", 9, 8, 2, HUGE)), "within an array of strings"),
        (one_value(struct.pack("<IIQ", 9, 13, 1)), "unknown type 13"),
        (one_value(struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9), "too deep"),
        (one_value(struct.pack("<IQ", 8, 2**40)), "do not fit"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 2) + (text("k") + packed(1)) * 2, "'k' occurs twice"),
        (HEAD + info_of("w", 99, (), F32, 0), "99 dimensions"),
        (HEAD + info_of("w", 1, (2**63,), F32, 0) + b"\0" * 99, "has the invalid shape"),
        (HEAD + info_of("w", 2, (33, 2), Q8_0, 0) + b"\0" * 99, "'w' of Q8_0 has the invalid shape [33, 2]"),
        (HEAD + info_of("w", 1, (4,), 999, 0) + b"\0" * 99, "unknown type 999"),
        (HEAD + info_of("w", 1, (4,), F32, 8) + b"\0" * 99, "not a multiple of 32"),
        (HEAD + info_of("w", 4, (2**62,) * 4, F32, 0) + b"\0" * 99, "truncated"),
        (HEAD + info_of("w", 1, (4,), F32, 2**62) + b"\0" * 99, "truncated"),
        (HEAD[:8] + struct.pack("<QQ", 2, 0) + info_of("a", 1, (16,), F32, 0) + info_of("b", 1, (4,), F32, 32)
         + b"\0" * 99, "'b' starts at 32, within 'a', which ends at 64"),
        (HEAD[:8] + struct.pack("<QQ", 2, 0) + info_of("a", 1, (4,), F32, 0) * 2 + b"\0" * 99, "'a' occurs twice"),
    ],
)  # fmt: skip
def test_an_invalid_file_is_refused(place: Path, content: bytes, said: str) -> None:
    place.write_bytes(content)
    assert said in refused(place)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<4sIQQ", b"GGUF", 1, 0, 0),
        struct.pack("<4sIQQ", b"GGUF", 99, 0, 0),
        struct.pack(">4sIQQ", b"GGUF", 3, 0, 0),
        b"tjgg" + b"\0" * 60,
    ],
)
def test_a_sound_file_of_another_kind_is_not_called_damaged(place: Path, content: bytes) -> None:
    place.write_bytes(content)
    said = refused(place)
    assert "damaged" not in said and "convert_hf_to_gguf.py" in said


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "sound.gguf"
    write(path, {**KEYS, "nested": [[1, 2], [3]]}, {"token_embd.weight": (Q8_0, (32, 3)), "n": (F32, (4,))})
    return path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=2000)
@given(
    edits=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=6),
    cut=st.integers(0),
    whole=st.booleans(),
)
def test_any_mutation_is_read_or_refused(
    tmp_path: Path, sound: bytes, edits: list[tuple[int, int]], cut: int, whole: bool
) -> None:
    content = bytearray(sound)
    for position, byte in edits:
        content[position % len(sound)] = byte
    path = tmp_path / "m.gguf"
    path.write_bytes(content if whole else content[: cut % len(sound)])
    try:
        json.dumps(inspect(path).to_json())
    except ModelError as error:
        assert str(tmp_path) in error.message


CHILD = """
import json, sys
from edgehone.model.inspect import inspect
def read(): return int(open("/proc/self/io").read().split()[1])
before = read()
info = inspect(sys.argv[1])
count = read() - before
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps({"info": info.to_json(), "read": count, "peak": int(peak[0]) * 1024}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs sparse files and /proc")
def test_10_gb_and_a_large_vocabulary_by_the_header_only(place: Path) -> None:
    tensors = {f"blk.{number}.ffn_up.weight": (Q4_K, (16384, 10_000)) for number in range(110)}
    write(place, keys(tokenizer__ggml__tokens=[f"token {n}" for n in range(150_000)]), tensors)
    assert place.stat().st_size > 10e9
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", CHILD, str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    answer = json.loads(done.stdout)
    assert answer["info"]["vocabulary"] == 150_000
    assert answer["info"]["parameters"] == 110 * 163_840_000
    assert answer["read"] < 20e6 and answer["peak"] < 200e6
