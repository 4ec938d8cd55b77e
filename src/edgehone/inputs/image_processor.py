"""What a preprocessor_config.json says of images, in the words of [images] in edgehone.toml.

The keys are those of transformers' image processors. What changes pixels in a way that is not computed here is refused
by its name: leaving it out would judge a model on other images than it was trained on, without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError

RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers 0 to 5
# Of the processors, by which a file is known to be of images.
_MARKS = {"image_mean", "do_resize", "image_processor_type"}
# Steps that are computed, or change no pixel of a file (labels, batches, the form of the result).
_DONE = {
    "do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_flip_channel_order", "do_convert_rgb",
    "do_reduce_labels", "do_convert_annotations",
}  # fmt: skip
# Keys besides those that begin with do_ by which images get another size or form.
_FORMS = (
    "keep_aspect_ratio",
    "ensure_multiple_of",
    "size_divisor",
    "pad_size",
    "max_patches",
    "max_num_patches",
)
_REPAIR = "repair it, or state the value under [images] in edgehone.toml"
# ConvNextImageProcessor: smaller images are resized to more than their size and cut, larger ones stretched.
_STRETCHED_FROM = 384
_CROP_PCT = 224 / 256  # where it says null
_UNNORMALIZED = "MobileViT"  # whose file has a mean that is used only if it says so


def of_images(data: Mapping[str, Any], path: Path, resized: bool) -> dict[str, Any]:
    """Return the options in a preprocessor_config.json; {} for another kind of processor.

    With `resized` [images] states the size, and what the file says of it is not read. Raises InputError for values that
    cannot be meant, and for steps that are not computed here.
    """
    if not _MARKS & data.keys():
        return {}
    _check_steps(data, path, resized)
    return ({} if resized else _resizing(data, path)) | _normalizing(data)


def _check_steps(data: Mapping[str, Any], path: Path, resized: bool) -> None:
    """Raise InputError for a step that is on and not computed."""
    for name, value in data.items():
        # A multiple of 1 is none; a processor that pads changes no image of the size that [images] states.
        form = name in _FORMS and (value is True or value not in (None, False, 1))
        step = name.startswith("do_") and value is True and name not in _DONE
        if (form and not resized) or (step and not (resized and name == "do_pad")):
            hint = "state the height and width under [images] in edgehone.toml: size = [480, 640]"
            raise InputError(
                f"{path}: {name} is {value!r}, a step that edgehone does not compute",
                hint=hint
                if form or name == "do_pad"
                else "give a FILE.npz with the arrays that the model takes",
            )


def _resizing(data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if data.get("do_resize", True) and data.get("size") is not None:
        found = _size(data["size"], data, path)
    if isinstance(number := data.get("resample"), int) and 0 <= number < len(RESAMPLE):
        found["resample"] = RESAMPLE[number]
    if data.get("do_center_crop"):
        found["crop"] = _sides(data.get("crop_size"), "crop_size", path)
    return found


def _size(size: Any, data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    # Processors of older versions meant the shortest edge where they crop afterwards.
    if isinstance(size, int) and (data.get("do_center_crop") or "crop_pct" in data):
        size = {"shortest_edge": size}
    if not isinstance(size, dict) or {"height", "width"} <= size.keys():
        return {"size": _sides(size, "size", path)}
    if size.keys() != {"shortest_edge"}:
        raise InputError(f"{path}: size is {size!r}, a rule that edgehone does not compute", hint=_REPAIR)
    edge = size["shortest_edge"]
    if "crop_pct" not in data:
        return {"shortest_edge": edge}
    share = data["crop_pct"] or _CROP_PCT
    if not isinstance(edge, int) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise InputError(f"{path}: crop_pct is {share!r} of {edge!r}", hint=_REPAIR)
    if edge >= _STRETCHED_FROM:
        return {"size": [edge, edge]}
    return {"shortest_edge": int(edge / share), "crop": [edge, edge]}


def _sides(value: Any, name: str, path: Path) -> Any:
    """Return height and width. Their values are checked with those of [images]."""
    if isinstance(value, dict) and {"height", "width"} <= value.keys():
        return [value["height"], value["width"]]
    if isinstance(value, int) and not isinstance(value, bool):
        return [value, value]
    raise InputError(f"{path}: {name} is {value!r}, not a height and width", hint=_REPAIR)


def _normalizing(data: Mapping[str, Any]) -> dict[str, Any]:
    rescaled = data.get("do_rescale", True)
    found: dict[str, Any] = {"scale": data.get("rescale_factor", 1 / 255) if rescaled else 1.0}
    mean, std = data.get("image_mean"), data.get("image_std")
    kind = str(data.get("image_processor_type", ""))
    if data.get("do_normalize", not kind.startswith(_UNNORMALIZED)):
        found |= {name: value for name, value in (("mean", mean), ("std", std)) if value is not None}
    if data.get("include_top") and std is not None:  # EfficientNetImageProcessor divides once more
        found["std"] = _each(std, lambda one: one * one) if "std" in found else std
    if rescaled and data.get("rescale_offset"):  # the same: from -1 on, before the mean
        found["mean"] = _each(found.get("mean", 0.0), lambda one: one + 1)
    if data.get("do_flip_channel_order"):
        found["order"] = "bgr"
    return found


def _each(given: Any, changed: Callable[[float], float]) -> Any:
    """Return a number or each of a list changed; other values as they are, to be refused with the others."""
    if isinstance(given, list):
        return [_each(one, changed) for one in given]
    return changed(given) if isinstance(given, (int, float)) else given
