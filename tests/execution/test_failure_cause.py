"""Root causes in the ends of real logs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.execution.failure_cause import root_cause

LOGS = [
    (
        'Traceback (most recent call last):\n  File "x.py", line 3, in main\n'
        "NotImplementedError: BPE pre-tokenizer was not recognized - update get_vocab_base_pre()\n",
        "NotImplementedError: BPE pre-tokenizer was not recognized - update get_vocab_base_pre()",
    ),
    (
        "copying\nOSError: [Errno 28] No space left on device: 'x'\n",
        "OSError: [Errno 28] No space left on device: 'x'",
    ),
    (
        "main: loading\nterminate called after throwing an instance of 'std::bad_alloc'\n",
        "terminate called after",
    ),
    ("llama_model_load: error loading model: tensor 'x' not found\nmain: exiting\n", "error loading model"),
    ("\x1b[31mCMake Error at CMakeLists.txt:1\x1b[0m\n", "CMake Error at CMakeLists.txt:1"),
    ("just\nwords\n\n", "words"),
    ("", ""),
]


@pytest.mark.parametrize(("log", "cause"), LOGS)
def test_the_root_cause_of_a_log(log: str, cause: str) -> None:
    found = root_cause(log)
    assert cause in found and (cause or found == "")


@given(st.text())
def test_any_log_gives_one_short_printable_line(log: str) -> None:
    found = root_cause(log)
    assert len(found) <= 500
    assert "\n" not in found and "\x1b" not in found
