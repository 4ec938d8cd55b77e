"""Deployment files: what their blocks ask for, what is not done, and what is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from edgehone.bundle.read import Bundle, read
from edgehone.bundle.schema import MANIFEST
from edgehone.cli.main import main
from edgehone.core.errors import InputError, SetupError
from edgehone.package import deployment
from edgehone.package.deployment import block_for, read_blocks, wishes_of
from edgehone.package.target import Option, Target
from edgehone.package.yaml_file import read_yaml
from tests.finished import Finished, list_again
from tests.package import boxed

BOXED = cast(Target, boxed)

# The two files of the mission, as they were given.
MOBILE = """# Mobile Deployment Configuration
mobile_deployment:
  ios:
    framework: apple_mlx
    optimization:
      quantization: int4
      memory_mapping: true
      background_execution: limited
    packaging:
      format: mlx
      bundle_size: <50MB

  android:
    framework: llama_cpp
    optimization:
      quantization: q4_k_m
      threading: android_optimized
      memory_management: conservative
    packaging:
      format: gguf
      apk_size: <100MB

  cross_platform:
    framework: onnx_runtime
    optimization:
      quantization: int8
      execution_provider: cpu
    packaging:
      format: onnx
      shared_libraries: minimal
"""
SERVER = """# Edge Server Deployment Configuration
edge_server:
  intel_based:
    framework: openvino
    optimization:
      quantization: int8
      acceleration: cpu_gpu_auto
      batch_processing: dynamic
    deployment:
      container: openvino_runtime
      orchestration: kubernetes
      scaling: horizontal

  nvidia_based:
    framework: microsoft_olive
    optimization:
      quantization: int4
      acceleration: cuda
      tensor_parallelism: true
    deployment:
      container: nvidia_triton
      orchestration: kubernetes
      scaling: gpu_aware
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The two files of the mission."""
    paths = tmp_path / "mobile_deployment.yaml", tmp_path / "edge_server.yaml"
    for path, text in zip(paths, (MOBILE, SERVER), strict=True):
        path.write_text(text)
    return paths


def as_if(bundle: Bundle, backend: str, name: str, *candidates: str) -> Bundle:
    """Return a bundle as if its artifact were of that recipe, with candidates of those keys that pass every gate."""
    own = bundle.decision.candidate(bundle.decision.bundled or "")
    recipe = {**bundle.manifest.recipe, "backend": backend, "name": name}
    others = tuple(
        replace(own, key=key, backend=key.partition("/")[0], bytes=10**at)
        for at, key in enumerate(candidates, 3)
    )
    mine = replace(own, key=f"{backend}/{name}", backend=backend)
    decision = replace(bundle.decision, chosen=mine.key, fallback=None, candidates=(mine, *others))
    return replace(bundle, manifest=replace(bundle.manifest, recipe=recipe), decision=decision)


def with_options(monkeypatch: pytest.MonkeyPatch, *options: Option) -> Target:
    monkeypatch.setattr(boxed, "OPTIONS", options)
    return BOXED


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_files_of_the_mission_are_read_as_they_stand(files: tuple[Path, Path]) -> None:
    mobile, server = (read_blocks(path) for path in files)
    assert [one.name for one in mobile] == ["ios", "android", "cross_platform"]
    assert mobile[1].asked == {
        "framework": "llama_cpp",
        "quantization": "q4_k_m",
        "threading": "android_optimized",
        "memory_management": "conservative",
        "format": "gguf",
        "apk_size": "<100MB",
    }
    assert server[1].asked["tensor_parallelism"] == "true"
    assert [one.targets[0] for one in (*mobile, *server)] == [
        "ios",
        "android",
        "onnxruntime",
        "ovms",
        "triton",
    ]


def test_every_value_of_the_table_says_what_is_done() -> None:
    for key, values in deployment._table()["settings"].items():
        for value, rule in values.items():
            assert "met" in rule or "nearest" in rule, f"{key}: {value}"
            assert rule.keys() <= {"met", "nearest", "options", "targets"}
            assert all(option.partition("=")[2] for option in rule.get("options", ()))


def test_a_block_becomes_options_a_budget_and_notes(
    files: tuple[Path, Path], finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = as_if(read(finished.bundle), "llamacpp", "Q4_0+gptq", "llamacpp/Q4_K_V+gptq", "llamacpp/Q8_0")
    android = block_for(read_blocks(files[0]), "android", bundle)
    target = with_options(
        monkeypatch, Option("threading", "how threads run", None, ("android_optimized", "all"))
    )
    wishes = wishes_of(android, target, bundle)
    assert wishes.budget == 10**8 and wishes.options == {"threading": "android_optimized"}
    quantization, memory = wishes.notes
    assert "asks for quantization q4_k_m; the bundle has Q4_0+gptq" in quantization
    assert "llamacpp/Q4_K_V+gptq comes nearest: " in quantization
    assert "memory_management: conservative" in memory and "nearest: the runtime settings" in memory


def test_the_first_option_that_the_target_has_is_taken(
    files: tuple[Path, Path], finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = as_if(read(finished.bundle), "openvino", "int8")
    intel = block_for(read_blocks(files[1]), "ovms", bundle)
    both = (
        Option("acceleration", "of the model", None, ("cpu", "cpu_gpu_auto")),
        Option("device", "of the image"),
    )
    assert wishes_of(intel, with_options(monkeypatch, *both), bundle).options == {
        "acceleration": "cpu_gpu_auto"
    }
    image = (Option("acceleration", "of the model", None, ("cpu",)), Option("device", "of the image"))
    assert wishes_of(intel, with_options(monkeypatch, *image), bundle).options == {"device": "gpu"}


def test_the_quantization_that_was_asked_for_needs_no_note(
    files: tuple[Path, Path], finished: Finished
) -> None:
    for name in ("Q4_K_M", "Q4_K_M+gptq"):
        bundle = as_if(read(finished.bundle), "llamacpp", name)
        android = block_for(read_blocks(files[0]), "android", bundle)
        assert not any("quantization" in note for note in wishes_of(android, BOXED, bundle).notes)
    bundle = as_if(read(finished.bundle), "llamacpp", "Q8_0")
    assert "no other candidate" in wishes_of(android, BOXED, bundle).notes[0]


def test_an_artifact_of_another_framework_is_refused_with_the_nearest(
    files: tuple[Path, Path], finished: Finished
) -> None:
    bundle = as_if(read(finished.bundle), "openvino", "int4", "llamacpp/Q4_0", "mlx/q4_g64")
    with pytest.raises(
        InputError, match="android asks for framework: llama_cpp; the bundle's artifact is openvino/int4"
    ) as caught:
        wishes_of(block_for(read_blocks(files[0]), "android", bundle), BOXED, bundle)
    assert "llamacpp/Q4_0 comes nearest" in str(caught.value.hint)
    assert "reproduce.sh --backends llamacpp" in str(caught.value.hint)
    with pytest.raises(InputError) as caught:
        wishes_of(block_for(read_blocks(files[1]), "triton", bundle), BOXED, bundle)
    assert "the decision has no candidate of it" in str(caught.value.hint)


def test_of_several_blocks_for_a_target_the_one_of_the_bundles_framework_is_taken(
    files: tuple[Path, Path], finished: Finished
) -> None:
    blocks = read_blocks(files[1])
    for backend, name in (("openvino", "intel_based"), ("olive", "nvidia_based")):
        assert block_for(blocks, "kubernetes", as_if(read(finished.bundle), backend, "int8")).name == name
    with pytest.raises(
        InputError, match=r"no block of the file is about android; its blocks are intel_based"
    ):
        block_for(blocks, "android", read(finished.bundle))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("mobile_deployment:", "mobil_deployment:", "did you mean 'mobile_deployment'"),
        ("  android:", "  andriod:", "did you mean 'android'"),
        ("framework: llama_cpp", "framework: lama_cpp", "did you mean 'llama_cpp'"),
        ("threading:", "treading:", "did you mean 'threading'"),
        ("threading: android_optimized", "threading: fast", "the value 'fast' of threading is unknown"),
        ("optimization:\n      quantization: q", "optimisation:\n      quantization: q", "mean 'optimization'"),
        ("apk_size: <100MB", "apk_size: huge", "apk_size is 'huge'"),
        ("apk_size: <100MB", "apk_size:", "apk_size is None"),
        ("apk_size: <100MB", "format: gguf", "the key format twice"),
        ("format: gguf", "quantization: int4", "quantization is given twice"),
        ("format: gguf", "format: [gguf]", "is \\['gguf'\\]"),
        ("format: gguf", "format: &a gguf\n      threading: *a", "alias"),
        ("format: gguf", "format: !!python/object/apply:os.system [true]", "is not YAML"),
        ("  android:", "  1:", "not a mapping of names"),
        ("format: gguf", "format: " + "[" * 5000, "is not YAML|deeper"),
        ("format: gguf", "format: \x07", "is not YAML"),
    ],
)  # fmt: skip
def test_what_is_unknown_is_named_with_the_nearest(
    files: tuple[Path, Path], old: str, new: str, told: str
) -> None:
    assert old in MOBILE
    with pytest.raises(InputError, match=told) as caught:
        read_blocks(write(files[0], MOBILE.replace(old, new, 1)))
    assert caught.value.hint and str(files[0]) in caught.value.message


def test_files_that_are_no_deployment_files(tmp_path: Path) -> None:
    for text, told in (
        ("", "not a mapping"),
        ("- a\n", "not a mapping"),
        ("{}", "has no block"),
        ("a: 1\n---\nb: 2\n", "not YAML"),
    ):
        with pytest.raises(InputError, match=told):
            read_blocks(write(tmp_path / "a.yaml", text))
    with pytest.raises(InputError, match="larger than 256 KiB"):
        read_yaml(write(tmp_path / "a.yaml", "# " + "x" * (1 << 18)))
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="not YAML"):
        read_yaml(tmp_path / "latin.yaml")


def test_without_pyyaml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(SetupError, match="PyYAML") as caught:
        read_yaml(tmp_path / "a.yaml")
    assert caught.value.hint == 'pip install "edgehone[package]"'


@pytest.fixture
def llama_like(spoiled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle whose manifest says that its artifact is llama.cpp's."""
    path = spoiled / MANIFEST
    data = json.loads(path.read_text())
    data["recipe"] |= {"backend": "llamacpp", "name": "Q4_K_M"}
    path.write_text(json.dumps(data))
    list_again(spoiled)
    return spoiled


def boxed_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the target of the tests take the place of all others."""
    table: dict[str, Any] = dict(deployment._table())
    table["blocks"] = {name: ["boxed"] for name in table["blocks"]}
    monkeypatch.setattr(deployment, "_table", lambda: table)


def test_a_package_is_made_of_each_block_as_far_as_possible(
    llama_like: Path, registered: None, files: tuple[Path, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    boxed_blocks(monkeypatch)
    words = ["package", str(llama_like), "--from", str(files[0]), "--out", str(tmp_path / "packages")]
    assert main([*words, "--json"]) == 2
    shown = capsys.readouterr()
    rows = {row["block"]: row for row in json.loads(shown.out)}
    assert "ios is not made: ios asks for framework: apple_mlx" in shown.err
    assert [one.name for one in (tmp_path / "packages").iterdir()] == ["android"]
    assert rows["android"]["package"]["budget"] == 10**8
    assert any("threading: android_optimized" in note for note in rows["android"]["package"]["notes"])
    assert "framework" in rows["cross_platform"]["error"]
    assert main([*words, "--set", "colour=red"]) == 2
    assert "--set needs a target" in capsys.readouterr().err
    # With a target, its block alone; the command line comes before the file.
    assert (
        main([*words[:4], "--for", "boxed", "--out", str(tmp_path / "one"), "--budget", "1GB", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["package"]["budget"] == 10**9
    assert main([*words[:4], "--for", "boxed", "--out", str(tmp_path / "two"), "--budget", "10"]) == 2
    assert not (tmp_path / "two").exists()


def test_a_changed_bundle_ends_the_command(
    llama_like: Path,
    registered: None,
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boxed_blocks(monkeypatch)
    next((llama_like / "artifact").iterdir()).write_bytes(b"another")
    out = tmp_path / "packages"
    assert main(["package", str(llama_like), "--from", str(files[0]), "--out", str(out)]) == 1
    assert not out.exists()


def test_what_a_target_does_anyway_needs_no_note(
    files: tuple[Path, Path], finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = as_if(read(finished.bundle), "olive", "int4")
    block = block_for(read_blocks(files[1]), "triton", bundle)

    def asked_in_vain(target: str) -> set[str]:
        monkeypatch.setattr(boxed, "NAME", target)
        return {note.split(" asks for ")[1].split(":")[0] for note in wishes_of(block, BOXED, bundle).notes}

    assert asked_in_vain("triton") == {"acceleration", "tensor_parallelism", "orchestration", "scaling"}
    assert asked_in_vain("kubernetes") == {"acceleration", "tensor_parallelism", "container"}
