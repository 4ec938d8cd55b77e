"""Whether two answers to the same request agree: 0 if they do, 1 if they do not, and what is between for several parts.

Texts are compared by their first word: later ones follow from it, and small differences of rounding make them differ in
equally good answers. Classifiers by their classes, other graphs by their numbers, encoders by the direction of vectors.
Answers that are drawn at random are not compared.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

# Numbers of a graph agree if they differ by at most this share of the largest one; vectors if their cosine is above.
_NUMBERS, _COSINE = 0.05, 0.95


def disagreement(
    path: str,
    asked: bytes,
    first: bytes,
    second: bytes,
    classes: tuple[Sequence[int] | None, Sequence[int] | None],
) -> float | None:
    """Return how far two answers disagree, in [0, 1]; None if that is not known.

    `path` is that of the request, `asked` its body, then the bodies of both answers. `classes` are those of a
    classifier.
    """
    mine, theirs = classes
    if mine is not None and theirs is not None:
        return _share(mine, theirs)
    try:
        if path.endswith("/infer"):
            return _graphs(msgspec.json.decode(first), msgspec.json.decode(second))
        request = msgspec.json.decode(asked)
        if path == "/v1/embeddings":
            return _vectors(msgspec.json.decode(first), msgspec.json.decode(second))
        if _drawn(path, request):
            return None
        return _share(_first_words(first), _first_words(second))
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError, ValueError):
        return None  # a form that has nothing to compare, such as binary tensors


def _drawn(path: str, request: Mapping[str, Any]) -> bool:
    """Return whether an answer is drawn at random. Completions are greedy unless a temperature is given."""
    temperature = request.get("temperature")
    return bool(temperature) if temperature is not None else path != "/v1/completions"


def _first_words(body: bytes) -> list[str]:
    """Return the first word of each choice, of an answer as a whole or as a stream of events."""
    texts: dict[int, str] = {}
    if body.lstrip().startswith(b"{"):
        _gather(msgspec.json.decode(body), texts)
    else:
        for line in body.split(b"\n"):
            content = line.removeprefix(b"data:").strip()
            if line.startswith(b"data:") and content != b"[DONE]":
                _gather(msgspec.json.decode(content), texts)
    if not texts:
        raise ValueError("no text")
    return [next(iter(texts[at].split()), "") for at in sorted(texts)]


def _gather(data: Mapping[str, Any], texts: dict[int, str]) -> None:
    """Add the texts of an answer, or of an event, by the number of the choice."""
    for choice in data.get("choices", ()):
        part = choice.get("message") or choice.get("delta") or choice
        text = part.get("content") if "content" in part else part.get("text", "")
        texts[choice.get("index", 0)] = texts.get(choice.get("index", 0), "") + (text or "")
    if data.get("type") == "response.output_text.delta":
        texts[0] = texts.get(0, "") + data["delta"]
    for item in data.get("output", ()):
        for part in item.get("content", ()):
            texts[0] = texts.get(0, "") + part.get("text", "")


def _graphs(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    import numpy as np

    theirs = {one["name"]: one for one in second["outputs"]}
    agree = []
    for one in first["outputs"]:
        a, b = np.array(one["data"], float).ravel(), np.array(theirs[one["name"]]["data"], float).ravel()
        agree.append(
            a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= _NUMBERS * np.abs(a).max(initial=0))
        )
    return 1 - sum(map(int, agree)) / len(agree)


def _vectors(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    import numpy as np

    def rows(data: Mapping[str, Any]) -> list[Any]:
        found = [one["embedding"] for one in data["data"]]
        return [
            np.frombuffer(base64.b64decode(one), "<f4") if isinstance(one, str) else np.array(one)
            for one in found
        ]

    pairs = list(zip(rows(first), rows(second), strict=True))
    agree = [
        bool(a.shape == b.shape and a @ b >= _COSINE * np.linalg.norm(a) * np.linalg.norm(b))
        for a, b in pairs
    ]
    return 1 - sum(map(int, agree)) / len(agree)


def _share(first: Sequence[Any], second: Sequence[Any]) -> float:
    if len(first) != len(second) or not first:
        return 1.0
    return sum(bool(a != b) for a, b in zip(first, second, strict=True)) / len(first)
