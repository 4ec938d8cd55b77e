"""Vision-language models in OpenVINO: three IRs exported by optimum-intel, run one after the other.

The IRs are the vision encoder with its projector, the embeddings of ids, and the language model on embeddings. The
language model is compressed, and the embeddings to 8 bits; the vision encoder stays in FP16. OpenVINO GenAI's
pipeline returns no logits, so its output could not be verified; here the same requests score and generate, greedily,
one token per call.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe, Step
from edgehone.backends.openvino import ir
from edgehone.backends.openvino.export import export_ir
from edgehone.backends.openvino.stateful import token_inputs
from edgehone.backends.sessions import Generation, WorkerJob
from edgehone.backends.shared.ids import check_ids
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.sessions import Logits
    from edgehone.inputs.pictures import Picture

LANGUAGE = "openvino_language_model.xml"
EMBEDDINGS = "openvino_text_embeddings_model.xml"
VISION = "openvino_vision_embeddings_model.xml"
# Architectures whose export by the pinned optimum-intel was tested against transformers.
SUPPORTED = ("gemma3", "llava")
# The newest transformers with which the pinned optimum-intel exports an architecture (MAX_TRANSFORMERS_VERSION in its
# exporters/openvino/model_configs.py); newer ones are refused by it. The pinned one is in lock.txt.
NEWEST_TRANSFORMERS = {
    "idefics3": "4.57.6",
    "phi3_v": "4.53.3",
    "phi4_multimodal": "4.53.3",
    "phi4mm": "4.53.3",
    "qwen2_5_vl": "5.0",
    "qwen2_vl": "5.0",
    "smolvlm": "4.57.6",
}

_VISION = "edgehone.backends.openvino.vision"
# Minimum number of chunks per prompt: the logits of later chunks depend on the KV cache and its precision.
_PARTS = 4


def refusals(model: ModelInfo) -> list[str]:
    """Return why a vision-language model is not supported; an empty list if it is."""
    if model.model_type in SUPPORTED:
        return []
    if newest := NEWEST_TRANSFORMERS.get(model.model_type or ""):
        return [
            f"the pinned optimum-intel exports '{model.model_type}' with transformers up to {newest} only, and here a "
            "newer one is pinned"
        ]
    return [
        f"of vision-language models only {', '.join(SUPPORTED)} are supported, not '{model.model_type}', which was "
        "never compared with transformers"
    ]


def variants(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return the recipes that need no calibration: calibration samples of these models would have to be embeddings."""
    uncalibrated = [recipe for recipe in recipes if not recipe.calibrated]
    return [replace(recipe, build={**recipe.build, "vision": True}) for recipe in uncalibrated]


def steps(recipe: Recipe) -> Step:
    """Return the steps: export the FP16 IRs, and compress them unless the recipe is exact."""
    export = Step(f"{_VISION}:export", reads=("model",))
    if recipe.exact:
        return export
    params = {name: value for name, value in recipe.build.items() if name != "vision"}
    return Step(f"{_VISION}:compress", params, {"fp16": export})


def export(job: WorkerJob) -> dict[str, Any]:
    """Write the three IRs in FP16, with tokenizer, detokenizer and the processor's files (worker side)."""
    job.progress(0.1, "exporting to IR")
    export_ir(job.inputs["model"], job.out, "image-text-to-text")
    for name in ("processor_config.json", "preprocessor_config.json"):
        source = job.inputs["model"] / name
        if source.is_file() and not (job.out / name).exists():
            shutil.copyfile(source, job.out / name)
    for name in (LANGUAGE, EMBEDDINGS, VISION):
        ir.compact(job.out / name)
    return ir.facts(job.out, LANGUAGE)


def compress(job: WorkerJob) -> dict[str, Any]:
    """Compress the language model to 8 or 4 bits and the embeddings to 8 bits (worker side).

    args: mode, group_size, ratio. inputs: fp16.
    """
    import nncf
    import openvino as ov

    source = job.inputs["fp16"]
    shutil.copytree(source, job.out, dirs_exist_ok=True)
    logging.getLogger("nncf").setLevel(logging.WARNING)
    core = ov.Core()
    options: dict[str, Any] = {"mode": nncf.CompressWeightsMode(job.args["mode"])}
    options |= {name: job.args[name] for name in ("group_size", "ratio") if name in job.args}
    for name, model_options in (
        (LANGUAGE, options),
        (EMBEDDINGS, {"mode": nncf.CompressWeightsMode.INT8_ASYM}),
    ):
        job.progress(0.2, f"compressing {name}")
        # Read from the source, not from the copy: the file is memory-mapped while the copy is overwritten.
        compressed = nncf.compress_weights(core.read_model(source / name), **model_options)
        ir.save(compressed, job.out, name=name)
    return ir.facts(job.out, LANGUAGE)


class OpenVinoVision:
    """An opened vision-language model: a session for text, and for a picture with text."""

    def __init__(self, folder: Path, properties: Mapping[str, Any], vocabulary: int) -> None:
        self._folder, self._properties, self._vocabulary = folder, properties, vocabulary
        self._requests: dict[str, Any] = {}
        self._tokenizer: Any = None
        self._processor: Any = None

    def tokenize(self, text: str) -> list[int]:
        """Tokenize with openvino_tokenizers, including the prefix tokens that it adds by default."""
        return [int(i) for i in self._tokens().encode(text).input_ids.data[0]]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text without special tokens."""
        return str(self._tokens().decode(list(ids), skip_special_tokens=True))

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Yield logits from an empty state; the ids are fed in chunks through the KV cache."""
        yield from self._feed(self._embedded(ids))

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Generate greedily, with one call of the language model per token."""
        started = time.perf_counter()
        return self._continue(self._embedded(ids), count, on_token, started)

    def score_picture(self, picture: Picture, before: Sequence[int], after: Sequence[int]) -> Logits:
        """Return the logits after each of `after`."""
        import numpy as np

        embedded, place = self._with_picture(picture, before, after)
        whole: Logits = np.concatenate(list(self._feed(embedded, place)))
        return whole[-len(after) :]

    def describe(
        self,
        picture: Picture,
        before: Sequence[int],
        after: Sequence[int],
        count: int,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Generate greedily; the time includes encoding the picture."""
        started = time.perf_counter()
        embedded, place = self._with_picture(picture, before, after)
        return self._continue(embedded, count, on_token, started, place)

    def close(self) -> None:
        """Release the loaded models, the tokenizer and the processor."""
        self._requests.clear()
        self._tokenizer = self._processor = None

    def _tokens(self) -> Any:
        if self._tokenizer is None:
            import openvino_genai

            self._tokenizer = openvino_genai.Tokenizer(str(self._folder))
        return self._tokenizer

    def _request(self, name: str) -> Any:
        if name not in self._requests:
            import openvino as ov

            properties = dict(self._properties)
            if name != LANGUAGE:
                properties.pop("KV_CACHE_PRECISION")
            compiled = ov.Core().compile_model(self._folder / name, "CPU", properties)
            self._requests[name] = compiled.create_infer_request()
        return self._requests[name]

    def _embedded(self, ids: Sequence[int]) -> Any:
        import numpy as np

        check_ids(ids, self._vocabulary)
        outputs = self._request(EMBEDDINGS).infer({0: np.array([list(ids)], np.int64)})
        return np.array(outputs[0], np.float32)

    def _with_picture(
        self, picture: Picture, before: Sequence[int], after: Sequence[int]
    ) -> tuple[Any, range]:
        """Return the embeddings of the ids, with the picture's embeddings between them, and the picture's positions."""
        import numpy as np

        pixels = self._pixels(picture)
        encoded = np.array(self._request(VISION).infer({0: pixels})[0], np.float32)
        encoded = encoded.reshape(1, -1, encoded.shape[-1])
        parts = [self._embedded(before)] if before else []
        whole = np.concatenate([*parts, encoded, self._embedded(after)], axis=1)
        return whole, range(len(before), len(before) + encoded.shape[1])

    def _pixels(self, picture: Picture) -> Any:
        import numpy as np
        from PIL import Image

        if self._processor is None:
            from transformers import AutoProcessor

            # AutoImageProcessor requires torchvision even where Pillow suffices; AutoProcessor does not.
            processor = AutoProcessor.from_pretrained(self._folder, local_files_only=True)
            self._processor = processor.image_processor
        processed = self._processor(images=Image.fromarray(picture), return_tensors="np")
        return np.asarray(processed["pixel_values"], np.float32)

    def _feed(self, embedded: Any, picture: range = range(0), parts: int = _PARTS) -> Iterator[Logits]:
        import numpy as np

        request = self._request(LANGUAGE)
        request.reset_state()
        length = embedded.shape[1]
        rows = max(1, -(-length // parts))
        # No part ends within the picture: its tokens may attend to each other.
        begins = [0, *(at for at in range(rows, length, rows) if at not in picture)]
        for begin, end in itertools.pairwise([*begins, length]):
            yield np.array(self._step(request, embedded[:, begin:end], begin, picture)[0], np.float32)

    def _step(self, request: Any, part: Any, begin: int, picture: range = range(0)) -> Any:
        request.infer(token_inputs(part, begin, request.model_inputs, picture))
        return request.get_tensor("logits").data

    def _continue(
        self,
        embedded: Any,
        count: int,
        on_token: Callable[[int], bool] | None,
        started: float,
        picture: range = range(0),
    ) -> Generation:
        request, length = self._request(LANGUAGE), embedded.shape[1]
        request.reset_state()
        ids: list[int] = []
        times: list[float] = []
        logits = self._step(request, embedded, 0, picture)
        while True:
            ids.append(int(logits[0, -1].argmax()))
            times.append(time.perf_counter())
            if (on_token is not None and on_token(ids[-1])) or len(ids) == count:
                return Generation(started, ids, times)
            logits = self._step(request, self._embedded(ids[-1:]), length + len(ids) - 1)
