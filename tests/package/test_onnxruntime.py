"""The target onnxruntime: the ORT format proven again, and samples that give the proven outputs."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgehone
from edgehone.bundle.schema import text_of
from edgehone.core.errors import InputError, SetupError
from edgehone.package import canary_files
from edgehone.package.document import read_package
from edgehone.package.targets.onnxruntime import checks, samples, target, web_runtime
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, pack
from tests.finished import list_again
from tests.package.onnx_bundles import DIGITS, OnnxBundle
from tests.report.browser import CHROMIUM, Browser

_CI = bool(os.environ.get("CI"))
needs_npm = pytest.mark.skipif(
    shutil.which("npm") is None and not _CI, reason="npm is not installed: tools/system_packages.sh"
)


@pytest.fixture
def packed(digits_bundle: Path, tmp_path: Path) -> Path:
    """A package of digits with the runtime for browsers."""
    return pack(digits_bundle, Order(target, tmp_path / "package", {"name": "digits", "ort_web": "npm"})).path


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP; gives its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def stated(browser: Browser, url: str) -> str:
    """Return what the page states once the model has run."""
    browser.visit(url)
    state = "document.getElementById('state').textContent"
    return str(browser.until(f"{state} !== 'loading' && {state}"))


@needs_npm
@pytest.mark.real
@pytest.mark.whole
@pytest.mark.skipif(CHROMIUM is None and not _CI, reason="there is no Chromium: tools/system_packages.sh")
def test_a_graph_gives_the_proven_outputs_in_a_browser(
    packed: Path, digits_bundle: Path, digits_answers: list[Any], browser: Browser, tmp_path: Path
) -> None:
    package = verify_package(packed).package
    assert [one.at for one in package.carried] == ["digits/onnx/digits.onnx"]
    assert any("converted from the proven graph" in note for note in package.notes)
    assert "ort_web" not in package.options
    place = packed / "digits"
    assert (place / "ort" / "required_operators.config").read_text().count(";") >= 4
    again = pack(digits_bundle, Order(target, tmp_path / "again", {"name": "digits", "ort_web": "npm"}))
    assert (
        read_package(again.path).files == package.files
    )  # the converter's own order differs in every process
    assert {one.outcome for one in again.checks} == {"passed"}

    with served(place / "web") as url:
        assert stated(browser, f"{url}/index.html") == "These are the proven outputs."
        (told,) = browser.value("window.told")
        question, answer = digits_answers[0]
        np.testing.assert_allclose(told["values"], answer["logits"].ravel(), rtol=1e-4, atol=1e-5)
        assert not browser.errors and all(one.startswith((url, "data:")) for one in browser.requests)
        # Other outputs are told from the proven ones, in the page and by the sample for Node.js.
        assert {one.outcome for one in checks.run(place, tmp_path)} == {"passed"}
        wrong = answer["logits"] + np.float32(0.2)
        for folder in (place, place / "web"):
            canary_files.write(folder / "canary", question, {"logits": wrong}, quantized=False)
        assert stated(browser, f"{url}/index.html") == "These are NOT the proven outputs."
    failed = checks.run(place, tmp_path)
    assert {one.outcome for one in failed} == {"failed"} and "NOT the proven outputs" in failed[2].reason


@pytest.mark.real
def test_a_conversion_with_other_outputs_is_refused(
    onnx_bundle: OnnxBundle, digits_answers: list[Any], tmp_path: Path
) -> None:
    question, answer = digits_answers[0]
    bundle = onnx_bundle(DIGITS, [(question, {"logits": answer["logits"] * np.float32(1.01)})])
    with pytest.raises(SetupError, match=r"ORT format gives other outputs: 'logits' differs by 0\.0"):
        pack(bundle, Order(target, tmp_path / "package"))
    assert not (tmp_path / "package").exists()


def test_a_language_model_is_laid_out_with_samples(
    spoiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "EDGEHONE_HOME", str(tmp_path / "home")
    )  # nothing is installed: the files are no model
    shutil.rmtree(spoiled / "artifact")
    (spoiled / "artifact").mkdir()
    for name in ("model.onnx", "model.onnx.data", "genai_config.json"):
        (spoiled / "artifact" / name).write_text(name)
    manifest = json.loads((spoiled / "manifest.json").read_text())
    manifest["recipe"] |= {"backend": "olive"}
    manifest["versions"] = {"olive": {"onnxruntime-genai": "0.18.0"}}
    (spoiled / "manifest.json").write_text(text_of(manifest))
    list_again(spoiled)
    packed = pack(spoiled, Order(target, tmp_path / "package", {"name": "tiny"}))
    place = packed.path / "tiny"
    assert {one.at for one in packed.package.carried} == {
        f"tiny/model/{name}" for name in ("model.onnx", "model.onnx.data", "genai_config.json")
    }
    canary = json.loads((place / "canary.json").read_text())
    assert canary == {key: manifest["canaries"][0][key] for key in ("prompt", "answer")}
    compile((place / "python" / "generate.py").read_text(), "generate.py", "exec")
    assert 'Version="0.18.0"' in (place / "csharp" / "sample.csproj").read_text()
    assert "onnxruntime-genai==0.18.0" in (packed.path / "README.md").read_text()


@pytest.mark.real
@pytest.mark.long
@pytest.mark.xdist_group("engines")
def test_the_sample_of_a_language_model_gives_the_proven_ids(
    bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = bundle_of("olive")
    done = pack(bundle, Order(target, tmp_path / "package", {"name": "tiny"}))
    assert [one.outcome for one in done.checks] == ["passed"], done.checks
    manifest = edgehone.read(bundle).manifest
    wrong = tuple(
        {**one, "answer": [(token + 1) % 2000 for token in one["answer"]]} for one in manifest.canaries
    )
    (bundle / "manifest.json").write_text(text_of(replace(manifest, canaries=wrong).to_json()))
    list_again(bundle)
    with pytest.raises(
        SetupError, match=r"(?s)generates a canary with the sample.* of \d+ ids are the proven ones"
    ):
        pack(bundle, Order(target, tmp_path / "wrong"))


def test_refuses_what_onnxruntime_does_not_load(spoiled: Path) -> None:
    assert "null's" in (target.refuses(edgehone.read(spoiled)) or "")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ((), "has no ort.wasm.min.mjs"),
        (web_runtime.FILES, "does not tell a version"),
        ((*web_runtime.FILES, "package.json"), "is onnxruntime-web 1.2.3"),
    ],
)
def test_refuses_another_runtime_for_browsers(tmp_path: Path, files: tuple[str, ...], problem: str) -> None:
    for name in files:
        (tmp_path / "dist").mkdir(exist_ok=True)
        (tmp_path / ("" if name == "package.json" else "dist") / name).write_text('{"version": "1.2.3"}')
    with pytest.raises(InputError, match=problem):
        web_runtime.find(str(tmp_path), print)


def test_npm_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "home"))
    with pytest.raises(SetupError, match=r"npm cannot get onnxruntime-web .*no network"):
        web_runtime.find("npm", print)
    npm.write_text(
        '#!/bin/sh\nfor one in "$@"; do case $one in --pack-destination=*) echo x > "${one#*=}/a.tgz";; esac; done\n'
    )
    with pytest.raises(SetupError, match="another digest"):
        web_runtime.find("npm", print)
    assert not list((tmp_path / "home" / "npm").iterdir())


def test_the_canary_in_c_has_every_type(tmp_path: Path) -> None:
    kinds = ["bool", "float16", "float32", "float64", "int8", "int64", "uint8", "uint64"]
    question = {f'in "{kind}"': np.ones((2, 3), kind) for kind in kinds}
    canary = canary_files.write(tmp_path, question, {"out": np.full((), 2, np.float32)}, quantized=True)
    header = samples.header(canary)
    assert "#define INPUT_COUNT 8" in header and "int64_t shape[2];" in header
    assert (
        r'{"in \"int64\"", "input-5.bin", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, 8, 6, 2, {2, 3}, 0}' in header
    )
    assert '{"out", "output-0.bin", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, 4, 1, 0, {0}, 0.02}' in header
    assert not re.search(r"\$[a-z]", header)
    found, answer, allowed = canary_files.read(tmp_path)
    assert all((found[name] == question[name]).all() for name in question) and allowed == {"out": 0.02}
    assert canary_files.differing(answer, answer, allowed) == ""
    assert "differs by 0.5" in canary_files.differing(answer, {"out": np.full((), 1, np.float32)}, allowed)
