"""Boxes in COCO's format: scaled, padded, numbered by category; files that are not COCO's are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.core.errors import InputError
from edgehone.inputs import coco

DATA: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "train/a.png", "width": 100, "height": 50},
        {"id": 8, "file_name": "b.png", "width": 20, "height": 20},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}],
    "annotations": [
        {"image_id": 7, "category_id": 3, "bbox": [10, 5, 20, 10]},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 100, 50]},
    ],
}


def written(folder: Path, data: Any) -> Path:
    path = folder / "annotations.json"
    path.write_text(json.dumps(data))
    return path


def test_boxes_are_scaled_and_padded(tmp_path: Path) -> None:
    written(tmp_path, DATA)
    path = coco.file_in(tmp_path)
    assert path is not None
    found = coco.boxes(path, [Path("a.png"), Path("b.png")], (200, 200))
    assert found.shape == (2, 2, 5)
    assert found[0] == pytest.approx(np.array([[1, 20, 20, 60, 60], [0, 0, 0, 200, 200]]))
    assert (found[1, :, 0] == -1).all()


def test_a_folder_without_annotations_has_none(tmp_path: Path) -> None:
    assert coco.file_in(tmp_path) is None


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ([], "no list 'images'"),
        ({**DATA, "categories": None}, "no list 'categories'"),
        ({**DATA, "images": [{"id": 1}]}, r"images\[0\] has no 'file_name'"),
        ({**DATA, "images": DATA["images"][:1]}, "does not list the image b.png"),
        ({**DATA, "categories": [{"id": 3}]}, "the category 1 is not among"),
        (
            {**DATA, "annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2]}]},
            r"bbox \[1, 2\] is not",
        ),
    ],
)
def test_files_that_are_not_coco_are_named(tmp_path: Path, data: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        coco.boxes(written(tmp_path, data), [Path("a.png"), Path("b.png")], (200, 200))
