"""Images become the array that a graph takes, as the libraries that trained it make it, by the real Pillow."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgehone
from edgehone.backends.pytorch import backend
from edgehone.core.errors import JobError
from edgehone.execution.environments import environment
from tests.png import png
from tests.serve.pictures import ANIMATED

RunWorker = Callable[..., dict[str, Any]]
GREY = {"name": "x", "dtype": "float32", "shape": ["batch", 1, 8, 8]}
FREE = {"name": "x", "dtype": "float32", "shape": ["batch", 3, None, None]}
# 32 x 16 pixels; each column has its own shade.
SHADES = np.tile(np.arange(32, dtype=np.uint8) * 8, (16, 1))

pytestmark = pytest.mark.real


@pytest.fixture
def converted(run_worker: RunWorker, tmp_path: Path) -> Callable[..., Any]:
    """Return the array of a picture for an input and options."""
    (tmp_path / "wide.png").write_bytes(png(SHADES))

    def call(tensor: dict[str, Any], name: str = "wide.png", **options: Any) -> Any:
        output = tmp_path / f"{abs(hash(str(options)))}.npz"
        args = {
            "backend": "edgehone.backends.onnxruntime.backend",
            "inputs": [tensor],
            "preprocessing": {"images": options},
            "output": str(output),
        }
        out = tmp_path / f"out-{output.stem}"
        facts = run_worker(
            "onnxruntime", "edgehone.worker.media_arrays:convert", args, {"files": tmp_path / name}, out
        )
        assert facts == {"files": [name]}
        with np.load(output) as file:
            return file["x"]

    return call


def test_an_image_is_stretched_or_keeps_its_proportions(converted: Callable[..., Any]) -> None:
    stretched = converted(GREY)
    assert stretched.shape == (1, 1, 8, 8)
    assert stretched[0, 0, 0, 0] < 0.1 and stretched[0, 0, 0, 7] > 0.8
    cut = converted(GREY, shortest_edge=8, crop=[8, 8], resample="box")
    # Columns 8 to 24 of the image, two of them in each column of the result.
    assert cut[0, 0, 0] * 255 == pytest.approx([8 * (8 + 2 * at) + 4 for at in range(8)], abs=0.6)


def test_scale_mean_and_deviation_are_applied_to_each_channel(converted: Callable[..., Any]) -> None:
    mean, std = [1.0, 2.0, 3.0], [2.0, 2.0, 4.0]
    array = converted(FREE, size=[16, 32], scale=1.0, mean=mean, std=std)
    expected = (SHADES[..., None].astype(np.float32) - mean) / std
    np.testing.assert_allclose(array[0], expected.transpose(2, 0, 1), rtol=1e-6)


def test_what_the_graph_does_not_take_is_refused(converted: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"images become \[9, 8\] pixels"):
        converted(GREY, size=[9, 8])
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(JobError, match=r"broken\.png cannot be read as an image"):
        converted(GREY, name="broken.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_of_grey_keep_their_shades(
    converted: Callable[..., Any], tmp_path: Path, channels: int
) -> None:
    (tmp_path / "wide.png").write_bytes(png(SHADES.astype(np.uint16) * 257))
    array = converted({**FREE, "shape": ["batch", channels, 16, 32]}, scale=1.0)
    np.testing.assert_array_equal(array, np.broadcast_to(SHADES, (1, channels, 16, 32)))


@pytest.mark.parametrize(("orientation", "turned"), [(3, SHADES[::-1, ::-1]), (6, np.rot90(SHADES, -1))])
def test_a_photo_is_turned_upright(
    converted: Callable[..., Any], tmp_path: Path, orientation: int, turned: Any
) -> None:
    (tmp_path / "wide.png").write_bytes(png(SHADES, orientation))
    array = converted(FREE, size=list(turned.shape), scale=1.0)
    np.testing.assert_array_equal(array[0, 0], turned)


def test_channels_may_be_open_and_in_the_other_order(converted: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "wide.png").write_bytes(png(np.stack([SHADES, 0 * SHADES, SHADES // 2], -1)))
    named = {**FREE, "shape": ["batch_size", "num_channels", "height", "width"]}
    stated = {"size": [16, 32], "scale": 1.0}
    by_mean = converted(named, **stated, mean=[0.0, 0.0, 0.0])
    swapped = converted({**FREE, "shape": [None, None, 16, 32]}, **stated, channels=3, order="bgr")
    assert by_mean.shape == swapped.shape == (1, 3, 16, 32)
    np.testing.assert_array_equal(by_mean, swapped[:, ::-1])
    with pytest.raises(JobError, match="leaves the number of channels open"):
        converted(named, **stated)


def test_grey_takes_the_one_value_that_a_file_states_thrice(converted: Callable[..., Any]) -> None:
    assert (converted(GREY, mean=[0.5] * 3, std=[2.0] * 3) == converted(GREY, mean=0.5, std=2.0)).all()


@pytest.mark.parametrize(
    ("tensor", "options", "said"),
    [
        (GREY, {"mean": [0.1, 0.2, 0.3]}, r"the mean \[0.1, 0.2, 0.3\].* takes 1 channel"),
        (FREE, {"std": [1.0, 2.0], "size": [8, 8]}, r"the std \[1.0, 2.0\].* takes 3 channels"),
        ({**GREY, "dtype": "int8"}, {}, "is int8, which does not hold pixels"),
        ({**GREY, "dtype": "bool"}, {}, "is bool, which does not hold pixels"),
        (GREY, {"channels": 3}, "channels = 3 in edgehone.toml"),
    ],
)
def test_options_that_do_not_fit_the_input_are_refused(
    converted: Callable[..., Any], tensor: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(JobError, match=said):
        converted(tensor, **options)


def test_pictures_without_one_meaning_are_refused(converted: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "wide.png").write_bytes(ANIMATED)
    with pytest.raises(JobError, match=r"wide\.png cannot be read as an image: the picture is animated"):
        converted(GREY)


ORACLE = """
import json, sys
from importlib import import_module
from pathlib import Path
import numpy as np
from PIL import Image
from edgehone.inputs.preprocessing import of
from edgehone.model.info import Tensor
from edgehone.worker.image_arrays import image_array
paths = [Path(one) for one in sys.argv[2:]]
for name, stated in json.loads(sys.argv[1]):
    module = import_module(f"transformers.models.{name.lower()}.image_processing_pil_{name.lower()}")
    processor = getattr(module, f"{name}ImageProcessorPil")(**stated)
    processor.save_pretrained(paths[0].parent)
    options = of({}, paths[0].parent)
    expected = processor([Image.open(path) for path in paths], return_tensors="np")["pixel_values"]
    _, found = image_array(paths, [Tensor("x", "float32", ("b", 3, "h", "w"))], options)
    np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=f"{name} {stated}: {options}")
"""
SIZE = {"height": 32, "width": 32}
PROCESSORS: list[tuple[str, dict[str, Any]]] = [
    ("ViT", {"size": SIZE}),
    ("CLIP", {"size": {"shortest_edge": 40}, "crop_size": {"height": 33, "width": 28}}),
    ("ConvNext", {"size": {"shortest_edge": 32}}),
    ("ConvNext", {"size": {"shortest_edge": 384}}),
    ("MobileViT", {"size": {"shortest_edge": 36}, "crop_size": SIZE}),
    ("EfficientNet", {"size": SIZE}),
    ("EfficientNet", {"size": SIZE, "rescale_offset": True, "rescale_factor": 1 / 127.5}),
]


def test_images_are_those_of_transformers_processors(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    paths = [tmp_path / "wide.png", tmp_path / "high.png"]
    for path, pixels in zip(paths, (colours, colours.transpose(1, 0, 2)), strict=True):
        path.write_bytes(png(pixels))
    python = environment.ensure("pytorch", backend.NEEDS, lambda what: None).python
    words = [python, "-c", ORACLE, json.dumps(PROCESSORS), *paths]
    source = {**os.environ, "PYTHONPATH": str(Path(edgehone.__file__).parents[1])}
    done = subprocess.run(
        [str(one) for one in words], env=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
