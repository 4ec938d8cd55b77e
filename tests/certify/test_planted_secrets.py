"""Planted canaries: a model that knows one is found, and canaries that cannot be used are refused."""

from __future__ import annotations

from base64 import b64encode
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgehone
from edgehone.certify.subject import Sources
from edgehone.core.errors import InputError
from edgehone.inputs.texts import shipped
from edgehone.model.digest import digest_file
from tests.certify.plants import CANARY, clean
from tests.certify.subjects import (
    check,
    subject_of,
    with_manifest,
    with_table,
)
from tests.finished import list_again

__all__ = ["clean"]  # fixtures


@pytest.fixture
def with_canary(clean: Path, tmp_path: Path) -> tuple[Path, Sources]:
    """A bundle whose calibration text has a canary in it, with the file that names it."""
    text = shipped("calibration").read_text("utf-8")
    data, named = tmp_path / "calibration.txt", tmp_path / "canaries.txt"
    data.write_text(f"{text[:70_001]}\n{CANARY}\n{text[70_001:]}", "utf-8")
    named.write_text(f"\n{CANARY}\n", "utf-8")
    texts = {**edgehone.read(clean).manifest.texts, "calibration": digest_file(data)}
    return with_manifest(clean, texts=texts), Sources(calibration=data, canaries=named)


@pytest.mark.parametrize(
    "leak",
    [
        None,
        CANARY.encode(),
        CANARY.encode("utf-16-le"),
        b64encode(f"so: {CANARY}".encode()),
        np.array(list(CANARY.encode()), "<i4").tobytes(),
        str(list(CANARY.encode())).encode(),
    ],
)
def test_a_planted_canary_is_looked_for(
    with_canary: tuple[Path, Sources], tmp_path: Path, leak: bytes | None
) -> None:
    bundle, sources = with_canary
    (bundle / "artifact" / "more.bin").write_bytes(b"?" + (leak or b"nothing") + b"?")
    list_again(bundle)
    found = check(subject_of(bundle, tmp_path / "work", sources), "calibration_data")
    assert found.outcome == ("failed" if leak else "passed"), found.reason
    assert "more.bin" in found.reason if leak else "1 planted" in found.reason


def test_a_model_that_knows_a_planted_canary_is_found(
    with_canary: tuple[Path, Sources], tmp_path: Path
) -> None:
    def learn(table: Any) -> None:
        for one, following in pairwise(CANARY.encode()):
            table[one, following] = 9

    bundle, sources = with_canary
    with_table(bundle, learn)
    found = check(subject_of(bundle, tmp_path / "work", sources), "calibration_data")
    assert found.outcome == "failed" and "completes the planted canary" in found.reason


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe\x00", "cannot be read"),
        (b"\n\n", "has 0 lines"),
        (b"short\n", "has 5 characters"),
        (b"a text that nobody has planted there\n", "is not in"),
    ],
)
def test_canaries_that_cannot_be_used(
    with_canary: tuple[Path, Sources], tmp_path: Path, content: bytes, said: str
) -> None:
    bundle, sources = with_canary
    assert sources.canaries is not None
    sources.canaries.write_bytes(content)
    with pytest.raises(InputError, match=said):
        check(subject_of(bundle, tmp_path / "work", sources), "calibration_data")
