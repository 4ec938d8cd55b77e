"""Pictures: generated and user-supplied ones, reading them, and figures from their scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import EdgehoneError, TextError
from edgehone.evaluation import vision
from edgehone.inputs.pictures import generated_pictures, grey
from edgehone.worker import prepare_pictures, score_pictures


def test_generated_pictures_differ_and_are_reproducible() -> None:
    one, again = generated_pictures(56), generated_pictures(56)
    assert len(one) == 8
    assert all(p.shape == (56, 56, 3) and p.dtype == np.uint8 for p in one)
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert len({p.tobytes() for p in one}) == 8
    assert all(p.std() > 20 for p in one)
    assert grey(one[0]).std() == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1 is not JSON"),
        ('{"image": "a.png"}', "lacks image or text"),
        ('{"image": "a.png", "text": ""}', "lacks image or text"),
        ('{"image": "a.png", "text": "What?", "answer": 3}', "lacks image or text"),
        ('\n{"image": "b.png", "text": "What?"}', "does not exist"),
        ("", "is empty"),
        ("[1]", "lacks image or text"),
    ],
)
def test_invalid_lines_are_refused_with_their_number(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "asked.jsonl").write_text(text)
    with pytest.raises(TextError, match=said):
        list(prepare_pictures.lines(tmp_path / "asked.jsonl"))


class Blind:
    """A session whose logits depend on the ids alone, or on the picture's brightness too."""

    vocabulary = 5

    def __init__(self, sight: float, noise: float = 0.0, bad: bool = False) -> None:
        self.sight, self.noise, self.bad = sight, noise, bad

    def score_picture(self, picture: Any, before: list[int], after: list[int]) -> Any:
        logits = np.array([[(i * j) % 5 for j in range(5)] for i in after], np.float32)
        logits[:, 0] += self.sight * float(picture.mean()) / 255 + self.noise
        if self.bad:
            logits[0, 0] = np.nan
        return logits

    def close(self) -> None:
        pass


def job(out: Path, **inputs: Path) -> WorkerJob:
    out.mkdir()
    args = {"backend": __name__, "settings": {}}
    return WorkerJob(args, inputs, out, None, 1, lambda fraction, what: None)


def shown(folder: Path) -> Path:
    folder.mkdir()
    np.savez(folder / "pictures.npz", **{str(i): p for i, p in enumerate(generated_pictures(14))})  # type: ignore[arg-type]
    (folder / "prompts.json").write_text(json.dumps([{"before": [1], "after": [2, 3, 4]}] * 8))
    return folder


SESSION: list[Blind] = []


def open_vision(artifact: Path, settings: Any, job: WorkerJob) -> Blind:
    return SESSION[-1]


def test_scores_become_figures(tmp_path: Path) -> None:
    pictures = shown(tmp_path / "pictures")
    SESSION.append(Blind(4.0))
    facts = score_pictures.reference(job(tmp_path / "ref", artifact=tmp_path, pictures=pictures))
    assert facts["matters"] > 0.01
    same = job(tmp_path / "same", artifact=tmp_path, pictures=pictures, reference=tmp_path / "ref")
    assert score_pictures.score(same) == {"positions": 24}
    found = vision.figures(tmp_path / "same", facts["matters"])
    assert found["vision_kl_mean"].value == pytest.approx(0, abs=1e-6)
    assert found["vision_kl_mean"].n == 8
    tolerance = {"vision_kl_mean_max": 5e-3, "vision_same_top_min": 0.95}
    assert vision.parity_check(found, tolerance)[0]

    SESSION.append(Blind(0.0))  # one that does not look
    other = job(tmp_path / "other", artifact=tmp_path, pictures=pictures, reference=tmp_path / "ref")
    score_pictures.score(other)
    found = vision.figures(tmp_path / "other", facts["matters"])
    ok, reason = vision.parity_check(found, tolerance)
    assert not ok
    assert "diverges by" in reason


def test_pictures_without_effect_give_no_figure(tmp_path: Path) -> None:
    pictures = shown(tmp_path / "pictures")
    SESSION.append(Blind(0.0))
    facts = score_pictures.reference(job(tmp_path / "ref", artifact=tmp_path, pictures=pictures))
    same = job(tmp_path / "same", artifact=tmp_path, pictures=pictures, reference=tmp_path / "ref")
    score_pictures.score(same)
    found = vision.figures(tmp_path / "same", facts["matters"])
    assert found["vision_kl_mean"].value is None
    assert "too little to compare" in str(found["vision_kl_mean"].reason)
    assert not vision.parity_check(found, {"vision_kl_mean_max": 5e-3, "vision_same_top_min": 0.95})[0]


def test_logits_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    SESSION.append(Blind(1.0, bad=True))
    with pytest.raises(EdgehoneError, match="picture 0: non-finite"):
        score_pictures.reference(
            job(tmp_path / "ref", artifact=tmp_path, pictures=shown(tmp_path / "pictures"))
        )
