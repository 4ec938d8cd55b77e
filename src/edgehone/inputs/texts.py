"""The texts that quality is measured on: evaluation text, calibration text, and multiple-choice tasks.

They are checked before anything is built, so that an invalid file is reported within a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from edgehone.core.absence import why_absent
from edgehone.core.errors import TextError

Purpose = Literal["evaluation", "calibration"]

# Evaluation: a confidence interval clustered by window needs at least about 8 windows of 256 tokens, at about
# 4 characters per token. Calibration: an importance matrix of fewer than about 1,000 tokens is noise.
MIN_CHARACTERS: dict[str, int] = {"evaluation": 8_000, "calibration": 4_000}

# Lines of this length do not occur in two unrelated texts; shorter ones (headings, verses) do.
SHARED_LINE = 200  # characters
# Corpora of language models are deduplicated by runs of 50 words (Lee et al. 2022, "Deduplicating Training Data
# Makes Language Models Better"). A shared quotation or licence header is acceptable, 1 % of the text is not.
SHINGLE = 50  # words
SHARED_SHINGLES = 0.01  # of those of the shorter text

_OPTION = {"evaluation": "--eval", "calibration": "--calibrate"}
_MODULUS = (1 << 61) - 1
_BASE = 1_000_003


def shipped(name: Purpose) -> Path:
    """Return the path of the shipped text. Raises TextError if the installation lacks it."""
    path = Path(str(resources.files("edgehone").joinpath("data", "texts", f"{name}.txt")))
    if not path.is_file():
        raise TextError(f"the shipped {name} text is not at {path}", hint="reinstall edgehone")
    return path


def read_text(path: str | Path, purpose: Purpose) -> str:
    """Return the text of a UTF-8 file without its byte order mark, with its original line ends.

    Raises TextError if it is missing, empty, not UTF-8 (with the offset of the byte) or shorter than MIN_CHARACTERS
    for its purpose.
    """
    hint = (
        f"give a longer UTF-8 text with {_OPTION[purpose]} FILE, or leave the option out for the shipped one"
    )
    text = _decode(Path(path), f"the {purpose} text", hint)
    least = MIN_CHARACTERS[purpose]
    if not text.strip():
        raise TextError(
            f"the {purpose} text {path} is empty: at least {least:,} characters are needed", hint=hint
        )
    if len(text) < least:
        length = f"{len(text):,} characters, at least {least:,} are needed"
        raise TextError(f"the {purpose} text {path} is too short: {length}", hint=hint)
    return text


def check_disjoint(evaluation: str, calibration: str) -> None:
    """Raise TextError if the two texts are equal or share long passages.

    A recipe that was calibrated on the evaluation text appears better than it is. Texts share a passage if they have
    an identical line of at least SHARED_LINE characters, or more than SHARED_SHINGLES of the shorter text's runs of
    SHINGLE words.
    """
    hint = "give two texts without common passages with --eval FILE and --calibrate FILE"
    words, other_words = evaluation.split(), calibration.split()
    if words == other_words:
        raise TextError("the evaluation text and the calibration text are the same", hint=hint)
    lines = _long_lines(evaluation) & _long_lines(calibration)
    if lines:
        shown = min(lines)[:60]
        raise TextError(f'the evaluation and the calibration text share the line "{shown}…"', hint=hint)
    numbers: dict[str, int] = {}
    shingles, others = (set(_shingles(part, numbers)) for part in (words, other_words))
    if not shingles or not others:
        return
    share = len(shingles & others) / min(len(shingles), len(others))
    if share > SHARED_SHINGLES:
        overlap = f"{share:.1%} of their runs of {SHINGLE} words (the limit is {SHARED_SHINGLES:.0%})"
        raise TextError(f"the evaluation and the calibration text share {overlap}", hint=hint)


def read_task(path: str | Path) -> list[dict[str, Any]]:
    """The items of a JSON-lines file: {"prompt": str, "choices": [str, …], "answer": index}.

    In the file `answer` is the index of a choice (from 0) or the choice itself; here it is the index.
    Blank lines are skipped. Raises TextError with the line number.
    """
    hint = 'each line: {"prompt": "2 + 2 =", "choices": [" 3", " 4"], "answer": 1}'
    # Not splitlines: JSON allows U+2028 and similar characters in strings.
    lines = _decode(Path(path), "the task file", hint).split("\n")
    items = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            items.append(_item(line))
        except (ValueError, RecursionError) as error:
            raise TextError(f"{path}, line {number}: {error}", hint=hint) from error
    if not items:
        raise TextError(f"the task file {path} is empty", hint=hint)
    return items


def _decode(path: Path, what: str, hint: str) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise TextError(why_absent(path, f"{what} does not exist: {path}"), hint=hint) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise TextError(
            f"{what} {path} cannot be read: {getattr(error, 'strerror', None) or error}", hint=hint
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The decoder counts from after the byte order mark.
        offset = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        problem = f"byte 0x{data[offset]:02x} at offset {offset} ({error.reason})"
        raise TextError(
            f"{what} {path} is not UTF-8: {problem}", hint=f"convert it: iconv -t UTF-8 {path}"
        ) from error


def _long_lines(text: str) -> set[str]:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return {line for line in lines if len(line) >= SHARED_LINE}


def _shingles(words: list[str], numbers: dict[str, int]) -> Iterator[int]:
    """Yield a rolling hash of each run of SHINGLE words. `numbers`: the number of each word, shared by both texts."""
    leaving = pow(_BASE, SHINGLE, _MODULUS)
    ids = [numbers.setdefault(word, len(numbers) + 1) for word in words]
    value = 0
    for position, number in enumerate(ids):
        value = (value * _BASE + number) % _MODULUS
        if position >= SHINGLE:
            value = (value - ids[position - SHINGLE] * leaving) % _MODULUS
        if position >= SHINGLE - 1:
            yield value


def _item(line: str) -> dict[str, Any]:
    item = json.loads(line)
    if not isinstance(item, dict):
        raise ValueError(f"expected an object, found {line.strip()[:40]!r}")
    prompt, choices, answer = (item.get(name) for name in ("prompt", "choices", "answer"))
    if not isinstance(prompt, str) or not prompt:
        raise ValueError(f"prompt is {prompt!r}, not a text")
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
        raise ValueError(f"choices is {str(choices)[:60]}, not a list of texts")
    if len(choices) < 2 or len(set(choices)) != len(choices):
        raise ValueError(f"choices must be two or more different texts, found {str(choices)[:60]}")
    return {"prompt": prompt, "choices": choices, "answer": _answer(answer, choices)}


def _answer(answer: Any, choices: list[str]) -> int:
    if isinstance(answer, str) and answer in choices:
        return choices.index(answer)
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    raise ValueError(
        f"answer is {str(answer)[:60]!r}, neither a choice nor an index in 0 … {len(choices) - 1}"
    )
