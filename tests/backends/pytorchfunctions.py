"""Functions that the pytorch tests run in its real environment."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.backends.pytorch import backend
from edgehone.backends.pytorch import session as torch_session
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import ModelError
from edgehone.worker.conformance.generation_checks import compare_with_generate


def probe(job: WorkerJob) -> dict[str, Any]:
    """Whole and split logits, and a greedy generation against them."""
    import numpy as np

    ids = [int(i) for i in job.args["ids"]]
    session = backend.open_session(job.inputs["artifact"], job.args["settings"], job)
    whole = list(session.score(ids))
    torch_session.WHOLE_LOGITS_BYTES = 4 * session.vocabulary * 5
    parts = list(session.score(ids))
    made = session.generate(ids, 12)
    stopped = session.generate(ids, 12, lambda token: token == made.ids[3])
    logits = np.concatenate(list(session.score(ids + made.ids[:-1])))
    return {
        "whole": len(whole),
        "parts": [len(part) for part in parts],
        "difference": float(np.abs(np.concatenate(whole) - np.concatenate(parts)).max()),
        "dtype": str(whole[0].dtype),
        "ids": made.ids,
        "argmax": [int(i) for i in logits[len(ids) - 1 :].argmax(1)],
        "ordered": made.started < made.times[0] and made.times == sorted(made.times),
        "times": len(made.times),
        "stopped": stopped.ids,
        "together": compare_with_generate(session, [ids, ids[:15], [*ids[-3:], *ids[3:]]]),
        "text": session.detokenize(made.ids),
    }


def refusals(job: WorkerJob) -> dict[str, str]:
    """What is said to models that are broken, each in its own way."""
    breaks: dict[str, Callable[[Path], None]] = {
        "no tokenizer": _without_tokenizer,
        "broken tokenizer": lambda folder: _write(folder / "tokenizer.json", b"{"),
        "truncated weights": lambda folder: _write(folder / "model.safetensors", b"\x08" + bytes(40)),
        "missing tensor": lambda folder: _without_tensor(folder, "model.norm.weight"),
        "unknown architecture": lambda folder: _renamed(folder, "unheard_of"),
        "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    }
    said = {}
    place = Path(tempfile.mkdtemp(dir=job.out.parent))
    for name, spoil in breaks.items():
        folder, artifact = place / name, place / f"{name} adopted"
        shutil.copytree(job.inputs["model"], folder)
        artifact.mkdir()
        spoil(folder)
        try:
            backend.link_original(replace(job, inputs={"model": folder}, out=artifact))
            session = backend.open_session(artifact, {"dtype": "float32"}, job)
            said[name] = f"nothing: {len(session.tokenize('a b'))} ids"
        except ModelError as error:
            said[name] = error.message
    return said


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def _renamed(folder: Path, model_type: str) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "model_type": model_type}), "utf-8")


def _without_tensor(folder: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def decoded(job: WorkerJob) -> dict[str, Any]:
    """The tokenizer that a bundle carries against transformers: random ids, and a text streamed id by id."""
    import random

    from transformers import AutoTokenizer

    from edgehone.backends.pytorch.tokenizer import Tokenizer
    from edgehone.worker.original_tokenizer import OriginalTokenizer
    from edgehone.worker.stable_text import StableText

    Tokenizer(job.inputs["model"]).save(job.out)
    bundled, original = OriginalTokenizer(job.out), AutoTokenizer.from_pretrained(job.inputs["model"])
    draw = random.Random(1)
    sequences = [draw.choices(range(len(original)), k=draw.randrange(1, 40)) for _ in range(200)]
    different = [
        ids for ids in sequences if bundled.detokenize(ids) != original.decode(ids, skip_special_tokens=True)
    ]
    ids = bundled.tokenize(job.args["text"], special=False)
    stream = StableText(bundled.detokenize, bundled.is_byte)
    long = [draw.choices(range(len(original)), k=draw.randrange(200, 600)) for _ in range(30)]
    long += [ids * 40, bundled.tokenize("😀é漢字" * 100), bundled.tokenize(" .\n" * 200)]

    def streamed(ids: list[int]) -> str:
        stream = StableText(bundled.detokenize, bundled.is_byte)
        return "".join([*map(stream.add, ids), stream.finish()])

    return {
        "long": sum(streamed(ids) == bundled.detokenize(ids) for ids in long),
        "sequences": len(sequences),
        "different": different[:3],
        "streamed": "".join([*map(stream.add, ids), stream.finish()]),
        "whole": original.decode(ids, skip_special_tokens=True),
        "uncleaned": original.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
    }


def kept_texts(job: WorkerJob) -> dict[str, Any]:
    """By how many bytes the process grows while the bundled tokenizer takes 9,000 different texts."""
    import os
    import random

    from edgehone.backends.pytorch.tokenizer import Tokenizer
    from edgehone.worker.original_tokenizer import OriginalTokenizer

    Tokenizer(job.inputs["model"]).save(job.out)
    tokenizer, draw, words = OriginalTokenizer(job.out), random.Random(1), job.args["words"].split()

    def take(count: int) -> int:
        for _ in range(count):
            tokenizer.tokenize(" ".join(draw.choices(words, k=40))[:200])
        resident = Path("/proc/self/statm").read_text("ascii").split()[1]
        return int(resident) * os.sysconf("SC_PAGE_SIZE")

    return {"grown": -take(200) + take(9000)}


def cache_sizes(job: WorkerJob) -> dict[str, Any]:
    """Tiny random models of some families: the configuration of each, and the bytes of its cache after some lengths."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    found = {}
    for family, own in job.args["families"].items():
        config = AutoConfig.for_model(family, **job.args["common"], **own)
        model = AutoModelForCausalLM.from_config(config).eval()
        sizes = []
        for length in job.args["lengths"]:
            with torch.inference_mode():
                layers = model(
                    torch.ones(1, length, dtype=torch.int64), use_cache=True
                ).past_key_values.layers
            parts = [getattr(layer, part, None) for layer in layers for part in ("keys", "values")]
            sizes.append(2 * sum(part.numel() for part in parts if part is not None and part.dim() == 4))
        found[family] = {"config": json.loads(config.to_json_string(use_diff=False)), "sizes": sizes}
    return found


def picture_prompts(job: WorkerJob) -> dict[str, Any]:
    """Put a picture and a prompt into chat templates.

    args: templates; if empty, the model's own. inputs: model (a vision-language model). Returns for each template the
    ids around the picture by the model's own processor, and by the files that a bundle carries.
    """
    from edgehone.backends.pytorch.tokenizer import Tokenizer
    from edgehone.backends.pytorch.vision import TorchPictureProcessor
    from edgehone.inputs.pictures import generated_pictures
    from edgehone.worker.picture_prompt import PICTURE, picture_prompt
    from edgehone.worker.text import Text

    prompt, found = "What is this, then?", []
    for at, template in enumerate(job.args["templates"] or [None]):
        model, carried = job.out / f"model{at}", job.out / f"tokenizer{at}"
        shutil.copytree(job.inputs["model"], model)
        if template is not None:
            (model / "chat_template.jinja").write_text(template, "utf-8")
        processor = TorchPictureProcessor(model)
        carried.mkdir()
        Tokenizer(model).save(carried)
        text = Text(replace(job, inputs={"tokenizer": carried}), None)
        message = {"role": "user", "content": [PICTURE, {"type": "text", "text": prompt}]}
        own = processor.split(generated_pictures(56)[0], prompt)
        marks = {"token": processor.token, "mark": processor.mark, "expanded": processor.expanded}
        ours = picture_prompt(text, marks, [message])
        found.append({"processor": list(map(list, own)), "bundle": list(map(list, ours))})
    return {"prompts": found}


def text_answers(job: WorkerJob) -> dict[str, Any]:
    """Answer messages to a server's text process.

    args: sizes (of prompts and conversations, in characters for each token that fits) and context. inputs: model.
    Returns the longest token in characters, and for each size how many ids there are, or the error, of a prompt and of
    a conversation in two parts.
    """
    from edgehone.backends.pytorch.tokenizer import Tokenizer
    from edgehone.worker.text import Text
    from edgehone.worker.text_service import _answer

    folder, args = job.out / "tokenizer", {"context": job.args["context"]}
    folder.mkdir()
    Tokenizer(job.inputs["model"]).save(folder)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}", "utf-8")
    text = Text(replace(job, inputs={"tokenizer": folder}), None)
    assert text._original is not None
    longest, found = text._original.longest, []
    for add in job.args["beyond"]:
        size = 100 * longest + add
        parts = [
            {"role": "user", "content": "x"},
            {"role": "user", "content": [{"type": "text", "text": "x" * (size - 1)}]},
        ]
        for message in ({"prompt": "x" * size}, {"messages": parts, "tools": []}):
            answer = _answer(text, message, args)
            found.append(answer.get("error") or len(answer["ids"]))
    return {"longest": longest, "answers": found}


def sampled_errors(job: WorkerJob) -> dict[str, Any]:
    """The relative errors of a matrix whose rows differ, from all rows and from some, and whether D is the same."""
    import torch

    from edgehone.backends.pytorch import matrices, rounding

    drawn = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(256, 8192, bias=False)
    sizes = torch.rand(8192, 1, generator=drawn) + 0.5
    layer.weight.data = torch.randn(8192, 256, generator=drawn) * sizes
    found = []
    for rounding.SAMPLED in (8192 * 256, job.args["sampled"]):
        one = matrices.Matrix("a", "ffn", layer, 0, (8192, 256), torch.linspace(0.1, 1.1, 256))
        rounding.round_matrix(one, job.out)
        found.append(one)
    whole, some = found
    return {"whole": whole.errors, "some": some.errors, "alike": bool((whole.delta == some.delta).all())}
