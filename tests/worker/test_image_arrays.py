"""Images become the array that a graph takes, as the libraries that trained it make it, by the real Pillow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.core.errors import JobError
from tests.png import png

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
