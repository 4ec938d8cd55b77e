"""Planted defects: each is found by its check, and the bundle without them passes."""

from __future__ import annotations

import io
import json
import os
import pickle
from base64 import b64encode
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgehone
from edgehone.certify import subject
from edgehone.certify.compliance import sbom
from edgehone.certify.found import Found, Skipped
from edgehone.certify.packages import read_lock
from edgehone.certify.subject import Sources, Subject
from edgehone.core.errors import InputError
from edgehone.inputs.texts import shipped
from edgehone.model.digest import digest_file
from tests.certify.subjects import (
    check,
    subject_of,
    with_manifest,
    with_model,
    with_settings,
    with_table,
)
from tests.finished import Finished, list_again
from tests.serve.conftest import with_template

CARD = (
    "# A model of bytes\n\nlicense: apache-2.0\n" + "It continues English text, and knows nothing else. " * 6
)
# All checks of a language model that need no server.
WITHOUT_SERVER = (
    "integrity", "licence", "notices", "provenance", "model_card", "sbom", "permissions", "pickles", "file_formats",
    "template_sandbox", "dependencies", "network", "calibration_data", "accuracy", "long_context", "chat_template",
    "typos", "unicode", "repeated_tokens", "odd_prompts", "malformed_files", "size", "memory", "latency_p50",
    "latency_p95", "latency_p99", "throughput",
)  # fmt: skip

Plant = Callable[[Path], Any]


@pytest.fixture
def clean(finished: Finished, spoiled: Path, warm_null: None) -> Path:
    """A copy of the finished bundle that has all that certification asks for."""
    (spoiled / "notices" / "README.md").write_text(CARD)
    return with_model(spoiled, licence="apache-2.0")


def test_the_clean_bundle_passes(clean: Path, tmp_path: Path) -> None:
    made = subject_of(clean, tmp_path / "work")
    found = {name: check(made, name) for name in WITHOUT_SERVER}
    assert {name: one.reason for name, one in found.items() if one.outcome != "passed"} == {}
    assert all(one.reason and (one.figure or one.evidence is not None) for one in found.values())


def _broken_bytes(bundle: Path) -> Path:
    """What follows bytes beyond ASCII is noise."""

    def change(table: Any) -> None:
        table[128:256] += np.random.default_rng(5).normal(0, 6, table[128:256].shape)

    return with_table(bundle, change)


def _worse(rows: slice) -> Plant:
    """The log-probabilities of some rows are mixed up, as a wrong scale of a group of weights does it."""

    def change(table: Any) -> None:
        table[rows] = np.random.default_rng(5).permutation(table[rows].T).T

    return lambda bundle: with_table(bundle, change)


def _no_doubles(bundle: Path) -> Path:
    """Letters that are seldom doubled cannot be doubled any more, as rounding to few bits does it."""

    def change(table: Any) -> None:
        for letter in range(256):
            if table[letter, letter] < table[letter].max() - 6:
                table[letter, letter] -= 400

    return with_table(bundle, change)


def _pickled(bundle: Path) -> None:
    (bundle / "artifact" / "weights.pkl").write_bytes(pickle.dumps(_Evil()))
    list_again(bundle)


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def _cut_pickle(bundle: Path) -> None:
    (bundle / "artifact" / "weights.pkl").write_bytes(pickle.dumps([1, 2, 3])[:-3])
    list_again(bundle)


def _objects(bundle: Path) -> None:
    np.save(bundle / "artifact" / "more.npy", np.array([{}], dtype=object), allow_pickle=True)
    list_again(bundle)


def _unknown_format(bundle: Path) -> None:
    (bundle / "artifact" / "libcustom.so").write_bytes(b"\x7fELF")
    list_again(bundle)


def _outside(bundle: Path) -> None:
    entry = {"model": {"decoder": {"filename": "../../etc/model.onnx"}}}
    (bundle / "artifact" / "genai_config.json").write_text(json.dumps(entry))
    list_again(bundle)


def _escaping(bundle: Path) -> None:
    with_template(bundle)
    path = bundle / "tokenizer" / "tokenizer_config.json"
    stated = json.loads(path.read_text())
    stated["chat_template"] = "{{ messages.__class__.__mro__ }}" + stated["chat_template"]
    path.write_text(json.dumps(stated))
    list_again(bundle)


def _endless(bundle: Path) -> None:
    (bundle / "tokenizer").mkdir(exist_ok=True)
    template = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    (bundle / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    list_again(bundle)


def _forgetful(bundle: Path) -> None:
    (bundle / "tokenizer").mkdir(exist_ok=True)
    template = "{% for m in messages[-1:] %}{{ m.content }}{% endfor %}"
    (bundle / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    list_again(bundle)


def _lost_end(bundle: Path) -> None:
    (bundle / "tokenizer").mkdir(exist_ok=True)
    (bundle / "tokenizer" / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 106]}))
    list_again(bundle)


def _canary(bundle: Path) -> None:
    text = shipped("calibration").read_text("utf-8")
    path = bundle / "artifact" / "null.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "note": text[3000:4500]}))
    list_again(bundle)


def _canary_in(encode: Callable[[str], bytes]) -> Plant:
    def plant(bundle: Path) -> None:
        text = shipped("calibration").read_text("utf-8")
        (bundle / "artifact" / "more.bin").write_bytes(b"?" + encode(text[3000:6000]) + b"?")
        list_again(bundle)

    return plant


def _ids_in(encode: Callable[[list[int]], bytes], name: str = "more.bin") -> Plant:
    """The ids of the calibration text, which are its bytes with the null backend's tokenizer, in some file."""

    def plant(bundle: Path) -> None:
        ids = list(shipped("calibration").read_bytes()[3000:9000])
        (bundle / "artifact" / name).write_bytes(encode(ids))
        list_again(bundle)

    return plant


def _packed_ids(ids: list[int]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, ids=np.array(ids, np.int64))
    return file.getvalue()


def _larger(bundle: Path) -> None:
    (bundle / "artifact" / "more.txt").write_bytes(b"x" * 100_000)
    list_again(bundle)


def _writable(bundle: Path) -> None:
    (bundle / "artifact" / "null.json").chmod(0o666)


def _linked(bundle: Path) -> None:
    (bundle / "artifact" / "link").symlink_to("/etc/passwd")


def _executable(bundle: Path) -> None:
    (bundle / "report.html").chmod(0o755)


def _changed(bundle: Path) -> None:
    (bundle / "report.html").write_text("nothing")


def _no_notices(bundle: Path) -> None:
    for path in (bundle / "notices").iterdir():
        path.unlink()
    list_again(bundle)


def _no_card(bundle: Path) -> None:
    (bundle / "notices" / "README.md").unlink()
    list_again(bundle)


def _no_script(bundle: Path) -> None:
    (bundle / "reproduce.sh").write_text("#!/bin/sh\n")
    list_again(bundle)


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("accuracy", _worse(slice(32, 128))),
        ("unicode", _broken_bytes),
        ("typos", _no_doubles),
        ("long_context", lambda bundle: with_settings(bundle, forgets_after=20)),
        ("repeated_tokens", lambda bundle: with_settings(bundle, loses_repeats=True)),
        ("odd_prompts", lambda bundle: with_settings(bundle, most_ids=150)),
        ("chat_template", _forgetful),
        ("chat_template", _lost_end),
        ("malformed_files", lambda bundle: with_settings(bundle, reckless=True)),
        ("memory", lambda bundle: with_settings(bundle, ballast_mb=64)),
        ("size", _larger),
        ("latency_p50", lambda bundle: with_settings(bundle, pace=32)),
        ("latency_p95", lambda bundle: with_settings(bundle, stutters_every=10)),
        ("latency_p99", lambda bundle: with_settings(bundle, stutters_every=30)),
        ("throughput", lambda bundle: with_settings(bundle, pace=32)),
        ("pickles", _pickled),
        ("pickles", _cut_pickle),
        ("file_formats", _objects),
        ("file_formats", _unknown_format),
        ("file_formats", _outside),
        ("template_sandbox", _escaping),
        ("template_sandbox", _endless),
        ("permissions", _writable),
        ("permissions", _linked),
        ("permissions", _executable),
        ("network", lambda bundle: with_settings(bundle, calls_home=True)),
        ("calibration_data", _canary),
        ("calibration_data", _canary_in(lambda text: text.encode("utf-16-le"))),
        ("calibration_data", _canary_in(lambda text: b64encode(text.encode()))),
        ("calibration_data", _canary_in(lambda text: b64encode(b"." + text.encode()))),
        ("calibration_data", _canary_in(lambda text: b64encode(b".." + text.encode()))),
        ("calibration_data", _ids_in(lambda ids: np.array(ids, "<i4").tobytes())),
        ("calibration_data", _ids_in(lambda ids: np.array(ids, "<u2").tobytes())),
        ("calibration_data", _ids_in(lambda ids: json.dumps({"ids": ids}, indent=2).encode(), "more.json")),
        ("calibration_data", _ids_in(_packed_ids, "more.npz")),
        ("integrity", _changed),
        ("licence", lambda bundle: with_model(bundle, licence=None)),
        ("notices", _no_notices),
        ("model_card", _no_card),
        ("provenance", lambda bundle: with_model(bundle, digest="")),
        ("provenance", lambda bundle: with_manifest(bundle, texts={})),
        ("provenance", _no_script),
    ],
)
def test_a_planted_defect_is_found(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, plant: Plant
) -> None:
    plant(clean)
    if plant is _endless:
        monkeypatch.setattr(subject, "HANGS", 3.0)
    # Only a part of the typing errors doubles a letter: such a defect needs more windows.
    more: dict[str, Any] = {"windows": 48, "perturbed": 48} if name == "typos" else {}
    found = check(subject_of(clean, tmp_path / "work", None, **more), name)
    assert found.outcome == "failed", found.reason


CANARY = "qZ7!xW2?vK9;pL4-jG6=bN8/hD3"


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


def test_a_licence_that_restricts_use_is_a_persons_decision(clean: Path, tmp_path: Path) -> None:
    with_model(clean, licence="cc-by-nc-4.0")
    assert check(subject_of(clean, tmp_path / "work"), "licence").outcome == "undecided"


def test_unpinned_dependencies_are_found() -> None:
    pinned, unpinned = read_lock(
        "# a comment\nnumpy==2.4.6 ; python_full_version < '3'\nnumpy==2.5.5 ; python_full_version >= '3'\n"
        "onnx>=1.2\nrequests @ https://example.org/requests.whl\nnaked\nPy_Tz==1.0\n"
    )
    assert pinned == {"numpy": "2.5.5", "py-tz": "1.0"}
    assert unpinned == ["onnx>=1.2", "requests @ https://example.org/requests.whl", "naked"]


def test_other_packages_than_proven_are_found(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_manifest(clean, versions={"null": {"numpy": "0.1"}})
    made = subject_of(clean, tmp_path / "work")
    object.__setattr__(made.env, "versions", {"numpy": "2.0"})
    assert "numpy 2.0 (was 0.1)" in check(made, "dependencies").reason
    with_manifest(clean, versions={})
    assert sbom(_with_versions(clean, tmp_path), made.profile.checks["sbom"]).outcome == "failed"


def _with_versions(bundle: Path, tmp_path: Path) -> Subject:
    made = subject_of(bundle, tmp_path / "work")
    object.__setattr__(made.env, "versions", {"numpy": "2.0"})
    return made


def _advisories(folder: Path, **affected: Any) -> Path:
    folder.mkdir()
    entry = {
        "id": "GHSA-test",
        "modified": "2026-11-01T00:00:00Z",
        "summary": "bad",
        "affected": [{"package": {"ecosystem": "PyPI", "name": "NumPy"}, **affected}],
    }
    (folder / "one.json").write_text(json.dumps(entry))
    return folder


@pytest.mark.parametrize(
    ("affected", "outcome"),
    [
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}, "failed"),
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.0"}]}]}, "passed"),
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "99"}]}]}, "passed"),
        (
            {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "1"}, {"last_affected": "99"}]}]},
            "failed",
        ),
        ({"versions": [np.__version__]}, "failed"),
    ],
)
def test_known_vulnerabilities_are_found(
    clean: Path, tmp_path: Path, affected: dict[str, Any], outcome: str
) -> None:
    sources = Sources(advisories=_advisories(tmp_path / "osv", **affected))
    assert check(subject_of(clean, tmp_path / "work", sources), "vulnerabilities").outcome == outcome


def test_without_a_database_vulnerabilities_are_skipped(clean: Path, tmp_path: Path) -> None:
    with pytest.raises(Skipped, match="--advisories"):
        check(subject_of(clean, tmp_path / "work"), "vulnerabilities")


def test_without_the_original_quality_is_skipped(clean: Path, tmp_path: Path) -> None:
    path = clean / "decision.json"
    decision = json.loads(path.read_text())
    decision["model"]["path"] = str(tmp_path / "gone")
    path.write_text(json.dumps(decision))
    list_again(clean)
    made = subject_of(clean, tmp_path / "work")
    for name in ("accuracy", "typos", "odd_prompts"):
        with pytest.raises(Skipped, match="--model"):
            check(made, name)


def test_figures_of_another_device_decide_nothing(clean: Path, tmp_path: Path) -> None:
    path = clean / "decision.json"
    decision = json.loads(path.read_text())
    decision["device"]["fingerprint"] = "another"
    path.write_text(json.dumps(decision))
    list_again(clean)
    found: Found = check(subject_of(clean, tmp_path / "work"), "memory")
    assert found.outcome == "undecided" and "another device" in found.reason
