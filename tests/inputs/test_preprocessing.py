"""How images are prepared: edgehone.toml, and the files that image processors of Hugging Face write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.inputs.preprocessing import FILE, check_inputs, of, table
from edgehone.model.info import Tensor

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


def of_vit() -> dict[str, Any]:
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    return {"size": [224, 224], "resample": "bilinear", "scale": 1 / 255, **half}


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        (
            VIT,
            of_vit(),
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
        (
            {**OLD, "do_center_crop": False, "crop_size": 224},
            {"size": [256, 256], "resample": "bicubic", "scale": 1 / 255},
        ),
        (
            {**VIT, "do_pad": False, "pad_size": None, "size_divisor": None, "do_reduce_labels": True},
            of_vit(),
        ),
        ({**VIT, "size": {"shortest_edge": 384}, "crop_pct": None}, {**of_vit(), "size": [384, 384]}),
        ({**VIT, "do_flip_channel_order": True}, {**of_vit(), "order": "bgr"}),
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
        (json.dumps({**VIT, "image_mean": [float("nan")] * 3}), "mean is [nan, nan, nan]"),
        (json.dumps({**VIT, "rescale_factor": 0}), "scale is 0"),
        (json.dumps({**VIT, "rescale_factor": [0.5]}), "scale is [0.5]"),
        (json.dumps({**VIT, "size": "224"}), "size is '224', not a height and width"),
        (json.dumps({**VIT, "size": {"height": 224}}), "size is {'height': 224}, a rule"),
        (json.dumps({**VIT, "size": {"shortest_edge": 800, "longest_edge": 1333}}), "a rule that edgehone"),
        (json.dumps({**CLIP, "crop_size": {"shortest_edge": 9}}), "crop_size is {'shortest_edge': 9}"),
        (json.dumps({**CLIP, "crop_size": None}), "crop_size is None"),
        (json.dumps({**VIT, "size": {"shortest_edge": 224}, "crop_pct": 1.5}), "crop_pct is 1.5"),
        (json.dumps({**VIT, "do_pad": True}), "do_pad is True, a step"),
        (json.dumps({**VIT, "do_color_quantize": True}), "do_color_quantize is True, a step"),
        (json.dumps({**VIT, "keep_aspect_ratio": True}), "keep_aspect_ratio is True, a step"),
        (json.dumps({**VIT, "ensure_multiple_of": 32}), "ensure_multiple_of is 32, a step"),
    ],
)
def test_a_broken_file_is_named_with_the_value(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        of({}, tmp_path)
    assert str(tmp_path / FILE) in caught.value.message


def test_a_stated_size_replaces_steps_that_are_not_computed(tmp_path: Path) -> None:
    for changed in (
        {"do_pad": True},
        {"size": {"longest_edge": 9}},
        {"keep_aspect_ratio": True},
        {"size": "9"},
    ):
        (tmp_path / FILE).write_text(json.dumps({**VIT, **changed}))
        assert of({"images": {"size": 96}}, tmp_path)["size"] == [96, 96]
    (tmp_path / FILE).write_text(json.dumps({**VIT, "image_mean": "half"}))
    assert of({"images": {"mean": 0.5}}, tmp_path)["mean"] == 0.5


def test_whole_numbers_take_no_mean() -> None:
    pixels, floats = Tensor("x", "uint8", ("n", 8, 8, 3)), Tensor("x", "float16", ("n", 8, 8, 3))
    check_inputs({"images": {"size": 8}}, [pixels])
    check_inputs({"images": {"mean": 0.5}}, [floats])
    with pytest.raises(
        InputError, match=re.escape("[images] mean in edgehone.toml, and the input x is uint8")
    ):
        check_inputs({"images": {"mean": 0.5}}, [pixels])


@pytest.mark.parametrize(
    "given",
    [
        {"resample": "cubic"},
        {"shortest_edge": [1, 2]},
        {"shortest_edge": [1]},
        {"crop": 0},
        {"std": 0},
        {"std": []},
        {"scale": [1.0]},
        {"scale": float("inf")},
        {"scale": 0},
        {"mean": float("nan")},
        {"order": "grb"},
        {"channels": 2},
        {"channels": True},
        {"colour": 1},
    ],
)
def test_a_value_that_is_none_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=re.escape(f"[images] {next(iter(given))} = ")):
        table(given)
    with pytest.raises(InputError, match="both size and shortest_edge"):
        table({"size": 8, "shortest_edge": 8})
