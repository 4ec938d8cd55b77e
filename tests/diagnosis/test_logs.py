"""Logs as toolchains write them: what is known is found, with its line; what is not is told as unknown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import InputError
from edgehone.diagnosis import diagnose, logs

# Lines of real logs, as their issues quote them, and the failure that each must be.
SEEN = {
    "llama_model_load: error loading model: unable to allocate CPU buffer": "buffer not allocated",
    "ggml_gallocr_reserve_n: failed to allocate CPU buffer of size 84940800": "buffer not allocated",
    "Illegal instruction (core dumped)": "illegal instruction",
    "Try increasing RLIMIT_MEMLOCK ('ulimit -l' as root).": "memory not locked",
    "error loading model architecture: unknown model architecture: 'gemma4'": "unknown architecture",
    "NotImplementedError: BPE pre-tokenizer was not recognized - update get_vocab_base_pre()": (
        "pre-tokenizer unknown"
    ),
    "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Pad(13) node": (
        "operator not implemented"
    ),
    "Opset 20 is under development and support for this is limited.": "opset too new",
    "ValueError: Message onnx.ModelProto exceeds maximum protobuf size of 2GB: 2215158447": (
        "model over 2 GB in one file"
    ),
    "-- No conversion rule found for operations: aten::mT, aten::foo": "operators without a conversion",
    "to_shape was called on a dynamic shape.": "dynamic shape on the NPU",
    'Device with "GPU" name is not registered in the OpenVINO Runtime': "device not there",
    "libcublasLt.so.12: cannot open shared object file: No such file or directory": (
        "CUDA provider without its libraries"
    ),
    "CUDA error 35: CUDA driver version is insufficient for CUDA runtime version": "driver older than CUDA",
    "[METAL] Command buffer execution failed: Insufficient Memory (00000008)": "Metal out of memory",
    "ValueError: Model type mistral3 not supported.": "model type unknown to mlx-lm",
    "env.cc:226 ThreadMain] pthread_setaffinity_np failed for thread: 5": "threads could not be pinned",
    "RuntimeError: operator torchvision::nms does not exist": "torch and torchvision do not match",
    "OSError: [Errno 28] No space left on device": "disk full",
    "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find the requested files": "hub out of reach",
    "ImportError: You need to have sentencepiece installed to convert": "tokenizer packages missing",
    "Out of memory: Killed process 4242 (python)": "killed for want of memory",
    "terminate called after throwing an instance of 'std::bad_alloc'": "out of memory",
    "OMP: Warning #96: Cannot form a team with 64 threads, using 8 instead.": "more threads than processors",
}


@pytest.mark.parametrize("line", SEEN)
def test_a_line_of_a_real_log(line: str) -> None:
    found = logs.find(f"loading\n{line}\nbye")
    assert found and found[0].name == SEEN[line]
    assert found[0].line == 2 and found[0].text == line.strip()
    assert found[0].remedies and found[0].link.startswith("https://")


def test_every_known_failure_is_seen_here() -> None:
    assert {one.name for one in logs.known()} == set(SEEN.values())
    assert len(logs.known()) == len({one.name for one in logs.known()})


def test_what_is_named_and_the_last_line_that_shows_it() -> None:
    log = "unknown model architecture: 'one'\nretry\nunknown model architecture: 'two'\n"
    (found,) = logs.find(log)
    assert (found.what, found.line) == ("two", 3)


def test_a_log_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "build.log"
    path.write_bytes(b"\xff\xfe\x1b[31mOpset 99 is under development\x1b[0m\n")
    made = diagnose(path)
    assert made.about == "log" and made.failures[0].what == "99"
    assert "\x1b" not in made.failures[0].text
    with pytest.raises(InputError, match="no known failure"):
        diagnose(path, "memory")


def test_the_folder_of_a_failed_job(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("std::bad_alloc\n")
    assert diagnose(tmp_path).failures[0].name == "out of memory"


@pytest.mark.parametrize(
    ("text", "quoted"), [("all went well\nstill: error 77 in widget\n", "error 77"), ("", "empty")]
)
def test_a_log_that_says_nothing_known(tmp_path: Path, text: str, quoted: str) -> None:
    path = tmp_path / "strange.log"
    path.write_text(text)
    with pytest.raises(InputError, match=quoted):
        diagnose(path)


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.log"
    with path.open("wb") as file:
        file.write(b"Illegal instruction\n" + b"x" * (logs.MAX_BYTES + 10) + b"\nstd::bad_alloc\n")
    assert [one.name for one in diagnose(path).failures] == ["out of memory"]


@given(st.text(max_size=2000))
def test_any_text_is_read(text: str) -> None:
    for failure in logs.find(text):
        assert 1 <= failure.line <= len(text.splitlines())
