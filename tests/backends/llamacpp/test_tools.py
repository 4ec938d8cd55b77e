"""Finding llama.cpp's parts, and the errors if one is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.backends.llamacpp.tools import Toolchain
from edgehone.core.errors import SetupError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("place", ["bin", ".", "build/bin"])
def test_tools_are_found_in_a_toolchain_a_bin_folder_and_a_checkout(place: str, tmp_path: Path) -> None:
    tool = touch(tmp_path / place / "llama-quantize")
    assert Toolchain.at(tmp_path).tool("llama-quantize") == tool


def test_a_missing_tool_is_reported_with_the_searched_folders(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"no llama-imatrix in .*build/bin") as caught:
        Toolchain.at(tmp_path).tool("llama-imatrix")
    assert caught.value.hint is not None and "EDGEHONE_TOOLCHAIN_LLAMACPP" in caught.value.hint


@pytest.mark.parametrize("given", [".", "build", "build/bin"])
def test_the_converter_is_found_from_the_build_folder_of_a_checkout(given: str, tmp_path: Path) -> None:
    script = touch(tmp_path / "convert_hf_to_gguf.py")
    for name in ("conversion", "gguf-py", "build/bin"):
        (tmp_path / name).mkdir(parents=True)
    assert Toolchain.at(tmp_path / given).convert().samefile(script)


def test_a_converter_without_its_modules_raises_a_setup_error(tmp_path: Path) -> None:
    touch(tmp_path / "convert" / "convert_hf_to_gguf.py")
    with pytest.raises(SetupError, match="no conversion/"):
        Toolchain.at(tmp_path).convert()


@pytest.mark.parametrize("folder", [None, Path("/nowhere/at/all")])
def test_a_missing_folder_raises_a_setup_error(folder: Path | None) -> None:
    with pytest.raises(SetupError, match=r"no llama\.cpp: "):
        Toolchain.at(folder)


def test_a_missing_binding_raises_a_setup_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(SetupError, match="no python/llama_cpp") as caught:
        Toolchain.at(tmp_path).binding()
    assert caught.value.hint is not None and "llama-cpp-python" in caught.value.hint
