"""How images and sounds become the arrays of a graph, checked before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.execution.job import Input
from edgehone.inputs import preprocessing, sample_files, samples, sound
from edgehone.model.info import ModelInfo


def options_of(
    config: Mapping[str, Any], model: ModelInfo, datasets: Mapping[str, Input]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of images (`inputs.preprocessing.of`) and of sounds (`inputs.sound.of`).

    The preprocessor_config.json beside a graph is read only for samples of its kind: with arrays it does not matter
    what it says. Raises InputError for what cannot be meant, and what is not computed here.
    """
    kinds = (
        {samples.kind_of(Path(data.path)) for data in datasets.values()} if model.kind == "graph" else set()
    )
    images = preprocessing.of(config, model.folder if "images" in kinds else None)
    if "images" in kinds:
        preprocessing.check_inputs(config, model.inputs)
    return images, sound.of(config, model.folder if "sounds" in kinds else None)


def notes(model: ModelInfo, datasets: Mapping[str, Input]) -> tuple[str, ...]:
    """Return a sentence for each folder of a graph's samples with files that are not read."""
    folders = [data.path for data in datasets.values() if model.kind == "graph" and data.path.is_dir()]
    return tuple(found for folder in folders if (found := sample_files.passed_over(folder)))
