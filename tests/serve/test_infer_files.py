"""Pictures and sounds sent to a graph: what `edgehone run` makes of them, and files that cannot be read."""

from __future__ import annotations

import base64
import json
import shutil
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import edgehone
from edgehone.bundle.schema import text_of
from edgehone.inference.run_bundle import infer
from edgehone.inputs import sound
from edgehone.serve.http import Refused
from edgehone.serve.infer.files import contents
from edgehone.serve.infer.media import media_job
from tests.finished import Finished, list_again
from tests.png import png
from tests.serve.graphs import null_graph
from tests.serve.server import Server, running
from tests.sounds import tone, write_wave

RATE = 1000
AUDIO = sound.of({"audio": {"rate": RATE, "seconds": 0.004}})  # four samples, which the graph takes
HEADER = "inference-header-content-length"


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_files_come_in_base64_or_with_their_lengths() -> None:
    texts = [base64.b64encode(one).decode() for one in (b"abc", b"de")]
    assert contents("x", [2], raw(texts)) == [b"abc", b"de"]
    assert contents("x", [2, 1], raw(texts)) == [b"abc", b"de"]
    parts = struct.pack("<I", 3) + b"abc" + struct.pack("<I", 2) + b"de"
    assert contents("x", [2], memoryview(parts)) == [b"abc", b"de"]


@pytest.mark.parametrize(
    ("shape", "data", "why"),
    [
        ([1], raw(["YWJj", "ZGU="]), "has 2 files, and its shape says 1"),
        ([0], raw([]), "has the shape [number of files]"),
        ([1, 2], raw(["YWJj"]), "has the shape [number of files]"),
        ([65], raw(["YWJj"]), "at most 64"),
        ([1], raw([3]), "is no list of base64 texts"),
        ([1], raw({"b64": "YWJj"}), "is no list of base64 texts"),
        ([1], raw(["not base64"]), "is not base64"),
        ([1], raw([""]), "file 0 of the input 'x' is empty"),
        ([1], msgspec.UNSET, "has no data"),
        ([1], memoryview(b"\1\0"), "end within the length of file 0"),
        ([1], memoryview(b"\5\0\0\0abc"), "ends 2 bytes early"),
        ([2], memoryview(b"\1\0\0\0a"), "has 1 files, and its shape says 2"),
    ],
)
def test_other_forms_are_refused(shape: list[int], data: object, why: str) -> None:
    with pytest.raises(Refused) as caught:
        contents("x", shape, data)
    assert caught.value.status == 400
    assert why in caught.value.message


def hearing(finished: Finished, folder: Path, preprocessing: Mapping[str, Any]) -> Path:
    """A bundle with a graph that was evaluated on files."""
    bundle = null_graph(Path(shutil.copytree(finished.bundle, folder / "bundle")))
    manifest = replace(edgehone.read(bundle).manifest, preprocessing=preprocessing)
    (bundle / "manifest.json").write_text(text_of(manifest.to_json()))
    list_again(bundle)
    return bundle


def ask(server: Server, *files: bytes, **more: Any) -> Any:
    texts = [base64.b64encode(one).decode() for one in files]
    one = {"name": "x", "datatype": "BYTES", "shape": [len(files)], "data": texts, **more}
    return server.infer({"inputs": [one], "outputs": [{"name": "scores"}]})


@pytest.mark.real
@pytest.mark.long
def test_sounds_are_heard_as_run_hears_them(
    _finished: Finished, tmp_path: Path, real_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEHONE_HOME", str(real_home))
    bundle = hearing(_finished, tmp_path, {"audio": AUDIO})
    folder = tmp_path / "sounds"
    folder.mkdir()
    paths = [
        write_wave(folder / f"{at}.wav", tone(50.0 * (at + 1), 0.02, rate), rate=rate)
        for at, rate in enumerate((RATE, 4 * RATE, RATE // 2 * 3))
    ]
    infer(edgehone.read(bundle), folder, tmp_path / "ran.npz")
    with np.load(tmp_path / "ran.npz") as file:
        ran = file["scores"]
    with running(bundle) as server:
        answer = ask(server, *(path.read_bytes() for path in paths))
        assert answer.status_code == 200, answer.text
        found = np.array(answer.json()["outputs"][0]["data"], np.float32).reshape(-1, 3)
        np.testing.assert_allclose(found, ran, rtol=1e-5)  # sums of a batch have another order
        data = b"".join(struct.pack("<I", len(one)) + one for one in (path.read_bytes() for path in paths))
        one = {
            "name": "x", "datatype": "BYTES", "shape": [3], "parameters": {"binary_data_size": len(data)},
        }  # fmt: skip
        head = json.dumps({"inputs": [one]}).encode()
        sent = server.infer(head + data, **{HEADER: str(len(head))})
        np.testing.assert_array_equal(
            np.array(sent.json()["outputs"][0]["data"], np.float32).reshape(-1, 3), found
        )
        whole = paths[0].read_bytes()
        rng = np.random.default_rng(0)
        for bad in (b"no sound", whole[:20], b"RIFF" + bytes(100), png(np.zeros((4, 4)))):
            refused = ask(server, bad)
            assert refused.status_code == 400, refused.text
            assert "file 0" in refused.json()["error"]
        for _ in range(200):  # a byte or two is another; it may still be a sound
            broken = bytearray(whole)
            for at in rng.integers(0, 44, 2):
                broken[at] = rng.integers(0, 256)
            assert ask(server, bytes(broken)).status_code in (200, 400)
        np.testing.assert_array_equal(
            np.array(ask(server, whole).json()["outputs"][0]["data"], np.float32), ran[0]
        )
        assert server.ready()


def test_a_graph_without_preprocessing_takes_no_files(_finished: Finished, tmp_path: Path) -> None:
    bundle = null_graph(Path(shutil.copytree(_finished.bundle, tmp_path / "bundle")))
    told = media_job(edgehone.read(bundle), print)
    assert isinstance(told, str)
    assert "was not evaluated on images or sounds" in told
