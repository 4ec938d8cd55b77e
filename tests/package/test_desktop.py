"""The target desktop: one folder that several programs load, and llamafiles."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.bundle.read import Bundle, read
from edgehone.bundle.schema import MANIFEST, text_of
from edgehone.conformance import tiny_gguf
from edgehone.core.errors import InputError
from edgehone.package import registry
from edgehone.package.conform import conform
from edgehone.package.llama_server import server_options
from edgehone.package.targets.desktop import checks, llamafile, model_card, runtime
from edgehone.package.targets.desktop import target as desktop
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, pack
from tests.finished import list_again

DESKTOP = registry.load("desktop")


@pytest.fixture
def gguf_bundle(spoiled: Path) -> Path:
    """The bundle of the null backend, as if its artifact were a GGUF file of llama.cpp."""
    return _as_if(
        spoiled, "llamacpp", "Q4_0", model_gguf=tiny_gguf.write(spoiled.parent / "tiny.gguf").read_bytes()
    )


def _as_if(bundle: Path, backend: str, name: str, **files: bytes) -> Path:
    for path in (bundle / "artifact").iterdir():
        path.unlink()
    for file, content in files.items():
        (bundle / "artifact" / file.replace("_gguf", ".gguf").replace("_xml", ".xml")).write_bytes(content)
    data = json.loads((bundle / MANIFEST).read_text())
    data["recipe"] |= {"backend": backend, "name": name}
    (bundle / MANIFEST).write_text(text_of(data))
    list_again(bundle)
    return bundle


@pytest.fixture
def without_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no program be at hand but unzip."""
    monkeypatch.setattr(checks, "_env", lambda name, needs: None)
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "llama-server" else which(name))


def settings(bundle: Path, **values: Any) -> Bundle:
    opened = read(bundle)
    recipe = {**opened.manifest.recipe, "settings": values}
    return replace(opened, manifest=replace(opened.manifest, recipe=recipe))


def program_file(path: Path) -> Path:
    """Write what a llamafile program looks like: an executable that is a ZIP archive too."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("usr/share/zoneinfo/UTC"), b"zone")
    content = path.read_bytes()
    path.write_bytes(b"MZqFpD='\n" + bytes(1000))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo("usr/share/zoneinfo/UTC"), b"zone")
    assert content
    return path


@pytest.mark.usefixtures("without_programs")
def test_one_folder_serves_all_programs(gguf_bundle: Path, tmp_path: Path) -> None:
    packed = pack(gguf_bundle, Order(DESKTOP, tmp_path / "out", {"name": "tiny", "publisher": "me"}))
    place = tmp_path / "out" / "me" / "tiny"
    names = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    assert [name for name in names if not name.startswith("notices/")] == [
        "Modelfile",
        "README.md",
        "start.sh",
        "tiny.gguf",
    ]
    assert (place / "tiny.gguf").read_bytes() == (gguf_bundle / "artifact" / "model.gguf").read_bytes()
    assert [one.at for one in packed.package.carried] == ["me/tiny/tiny.gguf"]
    readme = (tmp_path / "out" / "README.md").read_text()
    for command in ("sh me/tiny/start.sh", "ollama create tiny -f me/tiny/Modelfile", "cp -r me ~/.lmstudio"):
        assert command in readme
    assert {one.outcome for one in packed.checks} == {"skipped"} and len(packed.checks) == 2
    assert (place / "start.sh").stat().st_mode & 0o111 and verify_package(tmp_path / "out")


@pytest.mark.usefixtures("without_programs")
def test_one_program_gets_its_files_only(gguf_bundle: Path, tmp_path: Path) -> None:
    pack(gguf_bundle, Order(DESKTOP, tmp_path / "out", {"name": "tiny", "program": "ollama"}))
    assert sorted(path.name for path in (tmp_path / "out" / "local" / "tiny").iterdir()) == [
        "Modelfile",
        "tiny.gguf",
    ]
    for program in ("openvino-genai", "llamafile"):
        with pytest.raises(InputError) as caught:
            pack(gguf_bundle, Order(DESKTOP, tmp_path / "two", {"program": program}))
        assert "--set " in str(caught.value.hint) and not (tmp_path / "two").exists()


@pytest.mark.usefixtures("without_programs")
def test_the_suite_of_targets_passes(gguf_bundle: Path) -> None:
    outcomes = {one.check: (one.state, one.seen) for one in conform(DESKTOP, gguf_bundle)}
    assert all(state == "pass" for state, _ in outcomes.values()), outcomes


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "x y", "ä", "a..b", "x" * 97])
def test_names_that_are_no_folders_are_refused(gguf_bundle: Path, tmp_path: Path, name: str) -> None:
    for option in ("name", "publisher") if name else ("publisher",):
        with pytest.raises(InputError, match=f"the option {option} is"):
            pack(gguf_bundle, Order(DESKTOP, tmp_path / "out", {option: name}))


def test_artifacts_that_nothing_loads_are_refused(spoiled: Path) -> None:
    reason = desktop.refuses(read(spoiled))
    assert reason is not None and "null" in reason and "ollama" in reason


def test_a_modelfile_asks_for_what_was_measured(gguf_bundle: Path) -> None:
    (gguf_bundle / "tokenizer").mkdir()
    bundle = settings(gguf_bundle, threads=3)
    assert bundle.tokenizer is not None
    (bundle.tokenizer / "generation_config.json").write_text(
        '{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.9}'
    )
    tokens = {"added_tokens": [{"id": one, "content": f'<"{one}">'} for one in bundle.manifest.eos]}
    (bundle.tokenizer / "tokenizer.json").write_text(json.dumps(tokens))
    text, note = runtime.modelfile(bundle, "tiny.gguf", desktop._template("Modelfile.template"))
    for line in ("FROM ./tiny.gguf", "PARAMETER temperature 0.6", "PARAMETER top_k 20", "PARAMETER top_p 0.9",
                 "PARAMETER repeat_penalty 1.0", "PARAMETER num_thread 3"):  # fmt: skip
        assert line in text.splitlines()
    for one in bundle.manifest.eos:
        assert f'PARAMETER stop "<\\"{one}\\">"' in text
    assert 'TEMPLATE """{{ .Prompt }}"""' in text and "not run by Ollama" in note
    (bundle.tokenizer / "generation_config.json").unlink()
    assert (
        "PARAMETER temperature 0.0"
        in runtime.modelfile(bundle, "a", desktop._template("Modelfile.template"))[0]
    )


def test_the_script_has_the_settings_of_the_recipe(gguf_bundle: Path) -> None:
    words = " ".join(
        server_options(settings(gguf_bundle, kv_cache="q8_0", flash_attention=True, decode_threads=2))
    )
    for part in (
        "--cache-type-k q8_0",
        "--cache-type-v q8_0",
        "--flash-attn on",
        "--threads 2",
        "--ctx-size",
    ):
        assert part in words


@pytest.mark.usefixtures("without_programs")
def test_tensors_are_divided_among_gpus_where_that_is_asked_for(gguf_bundle: Path, tmp_path: Path) -> None:
    asked = {"tensor_parallelism": "true", "program": "llama-server", "name": "tiny"}
    packed = pack(gguf_bundle, Order(DESKTOP, tmp_path / "out", asked))
    assert "--split-mode row" in (packed.path / "local" / "tiny" / "start.sh").read_text()
    assert any("several were not tried" in one for one in packed.package.notes)
    plain = pack(gguf_bundle, Order(DESKTOP, tmp_path / "plain", {**asked, "tensor_parallelism": "false"}))
    assert "split-mode" not in (plain.path / "local" / "tiny" / "start.sh").read_text()


@pytest.mark.usefixtures("without_programs")
def test_a_llamafile_holds_the_model_on_a_page_boundary(gguf_bundle: Path, tmp_path: Path) -> None:
    program = program_file(tmp_path / "llamafile")
    packed = pack(
        gguf_bundle,
        Order(DESKTOP, tmp_path / "out", {"name": "tiny", "program": "llamafile", "llamafile": str(program)}),
    )
    path = tmp_path / "out" / "tiny.llamafile"
    model = (gguf_bundle / "artifact" / "model.gguf").read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["usr/share/zoneinfo/UTC", ".args", "tiny.gguf"]
        assert archive.read("tiny.gguf") == model and archive.read("usr/share/zoneinfo/UTC") == b"zone"
        assert archive.read(".args").decode().splitlines()[:2] == ["-m", "/zip/tiny.gguf"]
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
    content = path.read_bytes()
    assert content.startswith(b"MZqFpD") and content.index(model) % llamafile.ALIGNMENT == 0
    assert path.stat().st_mode & 0o111
    assert [one.at for one in packed.package.carried] == ["tiny.llamafile!tiny.gguf"]
    assert any("SHA-256" in note for note in packed.package.notes)
    if shutil.which("unzip"):
        assert [one.outcome for one in packed.checks] == ["passed"]
        assert (
            subprocess.run(["unzip", "-p", path, "tiny.gguf"], capture_output=True, check=False).stdout
            == model
        )


def test_what_is_no_llamafile_program_is_refused(gguf_bundle: Path, tmp_path: Path) -> None:
    def refused(content: bytes) -> str:
        (tmp_path / "program").write_bytes(content)
        with pytest.raises(InputError) as caught:
            pack(gguf_bundle, Order(DESKTOP, tmp_path / "out", {"llamafile": str(tmp_path / "program")}))
        assert not (tmp_path / "out").exists()
        return caught.value.message

    assert "begins with" in refused(b"\x7fELF")
    assert "no ZIP archive" in refused(b"MZqFpD" + bytes(100))
    program = program_file(tmp_path / "program")
    with zipfile.ZipFile(program, "a") as archive:
        archive.writestr(".args", b"-m\n")
    assert "has a model already: .args" in refused(program.read_bytes())
    with pytest.raises(InputError, match="cannot be read"):
        pack(gguf_bundle, Order(DESKTOP, tmp_path / "out", {"llamafile": str(tmp_path / "none")}))


def test_a_model_card_has_the_figures_with_their_intervals(gguf_bundle: Path) -> None:
    yaml = pytest.importorskip("yaml")
    bundle = read(gguf_bundle)
    text = model_card.card_of(bundle, 'a "name": x', "org/original")
    _, metadata, body = text.split("---\n", 2)
    data = yaml.safe_load(metadata)
    assert data["base_model"] == "org/original" and data["library_name"] == "gguf"
    (result,) = data["model-index"][0]["results"]
    figure = bundle.decision.candidate(bundle.decision.bundled or "").figures["accuracy_kept"]
    kept = next(one for one in result["metrics"] if one["type"] == "accuracy_kept")
    assert kept["value"] == pytest.approx((figure.value or 0) * 100, abs=1e-5)
    assert "95 %" in kept["name"] and "accuracy kept" in body
    assert "tokens_per_s" not in metadata  # speed belongs to a machine


@pytest.mark.usefixtures("without_programs")
def test_a_folder_for_openvino_genai(spoiled: Path, tmp_path: Path) -> None:
    bundle = _as_if(spoiled, "openvino", "int8", openvino_model_xml=b"<net/>")
    packed = pack(bundle, Order(DESKTOP, tmp_path / "out", {"name": "tiny"}))
    place = tmp_path / "out" / "local" / "tiny"
    assert (place / "openvino_model.xml").read_bytes() == b"<net/>"
    script = (place / "generate.py").read_text()
    compile(script, "generate.py", "exec")
    assert "'KV_CACHE_PRECISION': 'u8'" in script and "INFERENCE_NUM_THREADS" not in script
    assert [one.outcome for one in packed.checks] == ["skipped", "skipped"]
