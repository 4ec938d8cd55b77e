"""llama.cpp on accelerators: recipes for visible devices, and loading a model onto the recipe's device."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgehone.backends.llamacpp import backend, engine, offload
from edgehone.backends.llamacpp.log import Log, buffer_of
from edgehone.backends.shared.visible_devices import RuntimeDevice, VisibleDevices
from edgehone.core.errors import EdgehoneError
from edgehone.model.inspect import inspect
from tests.models import LLAMA

RunWorker = Callable[..., dict[str, Any]]
SEEN = VisibleDevices((RuntimeDevice("CPU", "cpu"), RuntimeDevice("Vulkan0", "gpu", "Arc")))


def test_every_recipe_has_a_variant_for_each_visible_accelerator() -> None:
    recipes = backend.recipes(LLAMA)
    found, without = backend.device_recipes(LLAMA, recipes, SEEN)
    assert [one.name for one in found] == [f"{one.name}@Vulkan0" for one in recipes]
    assert {one.device for one in found} == {"Vulkan0"} and without == {}
    assert "all layers on Arc" in found[0].why
    # Variants share the artifact; only the device differs.
    assert backend.steps(found[1]) == backend.steps(recipes[1])
    sees = replace(LLAMA, task="image-text-to-text")
    assert backend.device_recipes(sees, recipes, SEEN) == (
        [],
        {"Vulkan0": "vision-language models run on the CPU only"},
    )


@pytest.mark.parametrize(("device", "handles", "layers"), [("CPU", [], 0), ("Vulkan0", [77], -1)])
def test_a_model_is_loaded_onto_its_device_only(
    monkeypatch: pytest.MonkeyPatch, device: str, handles: list[int], layers: int
) -> None:
    seen: list[int] = []

    def loaded(path: bytes, params: Any) -> str:
        pointers = ctypes.cast(params.devices, ctypes.POINTER(ctypes.c_void_p))
        while (pointer := pointers[len(seen)]) is not None:
            seen.append(int(pointer))
        return "a model"

    monkeypatch.setattr(offload, "_handle", lambda library, name: 77)
    params, library = SimpleNamespace(), SimpleNamespace(llama_model_load_from_file=loaded)
    assert offload.load_model(library, Path("m.gguf"), params, device) == "a model"
    assert (seen, params.n_gpu_layers) == (handles, layers)
    seen.clear()
    offload.load_model(library, Path("m.gguf"), params, device, 7)
    assert (seen, params.n_gpu_layers) == (handles, 7 if handles else 0)


def test_layers_can_be_on_a_device_in_part_by_number() -> None:
    [one, *_], _ = backend.device_recipes(LLAMA, backend.recipes(LLAMA)[:1], SEEN)
    deep = replace(LLAMA, layers=32)
    assert backend.offloadable_layers(one, deep) == 33
    assert backend.offloadable_layers(one, replace(LLAMA, layers=None)) == 0
    assert backend.offloadable_layers(backend.recipes(LLAMA)[0], deep) == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "--device none"),
        ({"device": "CPU"}, "--device none"),
        ({"draft": 3}, "--device none --spec-draft-device none"),
        ({"device": "CUDA0"}, "--device CUDA0 --gpu-layers all"),
        ({"device": "CUDA0", "gpu_layers": 12}, "--device CUDA0 --gpu-layers 12"),
    ],
)
def test_the_server_has_its_layers_where_the_session_has_them(settings: dict[str, Any], words: str) -> None:
    line = engine.command_line(Path("server"), Path("m.gguf"), settings, 2, 1, 512)
    assert f" {words} " in " ".join(line)


@pytest.mark.real
def test_a_device_that_is_not_visible_raises_an_error(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    exact = tmp_path / "f16"
    run_worker("llamacpp", "edgehone.backends.llamacpp.build:convert", {}, {"model": demo_model}, exact)
    args = {"settings": {"device": "CUDA7"}}
    with pytest.raises(EdgehoneError, match=r"the device 'CUDA7' is not visible to this llama\.cpp"):
        run_worker("llamacpp", "llamacppfunctions:opened", args, {"artifact": exact}, tmp_path / "no")
    # ggml finds a device by the name that it reports, so every reported name can be used.
    args = {"settings": {"device": "CPU"}}
    run_worker("llamacpp", "llamacppfunctions:opened", args, {"artifact": exact}, tmp_path / "opened")
    # The log tells its buffers: of the weights, and of the one context that is open.
    facts = run_worker("llamacpp", "llamacppfunctions:allocated", {}, {"artifact": exact}, tmp_path / "sizes")
    weights, short, long, again = facts["sizes"]
    assert weights == facts["left"] == pytest.approx((exact / "model.gguf").stat().st_size, rel=0.1)
    kv = inspect(demo_model).kv_bytes_per_token or 0
    assert short - weights >= 256 * kv and long - short >= 512 * kv
    assert again == long and facts["of_device"] is None


LOG = """\
load_tensors: offloaded 33/33 layers to GPU
load_tensors:          CPU model buffer size =   127.83 MiB
load_tensors:        CUDA0 model buffer size =  1918.50 MiB
load_tensors:  MTL0_Mapped model buffer size =   100.00 MiB
llama_context:  CUDA_Host  output buffer size =     0.49 MiB
llama_kv_cache:      CUDA0 KV buffer size =   128.00 MiB
llama_memory_recurrent:      CUDA0 RS buffer size =     2.25 MiB
llama_context:      CUDA0 compute buffer size =   254.50 MiB
sched_reserve:  CUDA_Host compute buffer size =     8.01 MiB
"""


def test_buffers_of_a_device_are_read_from_the_log() -> None:
    found = [one for line in LOG.splitlines() if (one := buffer_of(line))]
    assert [one.size / (1 << 20) for one in found if one.device == "CUDA0"] == [1918.5, 128, 2.25, 254.5]
    library = SimpleNamespace(llama_log_callback=lambda take: take, llama_log_set=lambda take, data: None)
    log = Log(library)
    for line in LOG.splitlines():
        log._take(2, line.encode(), None)
    assert log.bytes_on("CUDA0") == round(2303.25 * (1 << 20))
    assert log.bytes_on("MTL0") == 100 << 20
    log.forget_context()
    assert log.bytes_on("CUDA0") == round(1918.5 * (1 << 20))
