"""How images are prepared: edgehone.toml, and the files that image processors of Hugging Face write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.inputs.preprocessing import FILE, of, table

# As transformers writes them for ViTImageProcessor, CLIPImageProcessor, and an older ConvNextFeatureExtractor.
VIT: dict[str, Any] = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 224, "width": 224},
}
CLIP = {
    **VIT,
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
}
OLD = {
    "do_resize": True,
    "size": 256,
    "do_center_crop": True,
    "crop_size": 224,
    "resample": 3,
    "do_normalize": False,
}


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        (
            VIT,
            {
                "size": [224, 224],
                "resample": "bilinear",
                "scale": 1 / 255,
                "mean": [0.5] * 3,
                "std": [0.5] * 3,
            },
        ),
        (
            CLIP,
            {
                "shortest_edge": 224,
                "crop": [224, 224],
                "resample": "bilinear",
                "scale": 1 / 255,
                "mean": [0.5] * 3,
                "std": [0.5] * 3,
            },
        ),
        (OLD, {"shortest_edge": 256, "crop": [224, 224], "resample": "bicubic", "scale": 1 / 255}),
        ({"do_resize": False, "do_rescale": False, "do_normalize": False}, {"scale": 1.0}),
        ({"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80}, {}),
    ],
)
def test_a_processors_file_is_read(tmp_path: Path, stated: dict[str, Any], found: dict[str, Any]) -> None:
    (tmp_path / FILE).write_text(json.dumps(stated))
    assert of({}, tmp_path) == pytest.approx(found)
    assert of({}, None) == {}


def test_edgehone_toml_replaces_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps(CLIP))
    found = of({"images": {"size": 96, "mean": 0.0}}, tmp_path)
    assert found["size"] == [96, 96] and found["mean"] == 0.0 and found["std"] == [0.5] * 3
    assert "crop" not in found and "shortest_edge" not in found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        (json.dumps({**VIT, "size": {"height": -1, "width": 2}}), "size is [-1, 2]"),
        (json.dumps({**VIT, "image_std": [0.5, 0, 0.5]}), "std is [0.5, 0, 0.5]"),
        (json.dumps({**VIT, "image_mean": "half"}), "mean is 'half'"),
    ],
)
def test_a_broken_file_is_named_with_the_value(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        of({}, tmp_path)
    assert str(tmp_path / FILE) in caught.value.message


@pytest.mark.parametrize(
    "given", [{"resample": "cubic"}, {"shortest_edge": [1, 2]}, {"crop": 0}, {"std": 0}, {"colour": 1}]
)
def test_a_value_that_is_none_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=re.escape(f"[images] {next(iter(given))} = ")):
        table(given)
    with pytest.raises(InputError, match="both size and shortest_edge"):
        table({"size": 8, "shortest_edge": 8})
