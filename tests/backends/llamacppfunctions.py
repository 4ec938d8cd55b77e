"""Functions that the llamacpp tests run in its real environment."""

from __future__ import annotations

import json
from typing import Any

from edgehone.backends.llamacpp import backend
from edgehone.backends.llamacpp import original as gguf
from edgehone.backends.llamacpp.tools import ARTIFACT, toolchain_of
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.worker.chat_template import read_template, special_tokens
from edgehone.worker.conformance.generation_checks import compare_with_generate
from edgehone.worker.tokenizer_sample import PLAIN


def compare(job: WorkerJob) -> dict[str, Any]:
    """The GGUF against transformers in float32: ids, divergence over 600 ids, greedy against scored."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.inputs["model"])
    original = AutoModelForCausalLM.from_pretrained(job.inputs["model"], dtype=torch.float32).eval()
    session = backend.open_session(job.inputs["artifact"], job.args.get("settings", {}), job)
    sample = tokenizer(PLAIN)["input_ids"]
    text = (job.inputs["calibration"] / "calibration.txt").read_text("utf-8")
    ids = tokenizer(text)["input_ids"][:600]
    chunks = list(session.score(ids))
    with torch.inference_mode():
        wanted = torch.log_softmax(original(torch.tensor([ids])).logits[0].double(), -1)
    got = torch.log_softmax(torch.tensor(np.concatenate(chunks)).double(), -1)
    prompt = ids[:50]
    made = session.generate(prompt, 40)
    scored = np.concatenate(list(session.score(prompt + made.ids)))
    stopped = session.generate(prompt, 40, lambda token: True)
    facts = {
        "same_ids": session.tokenize(PLAIN) == sample,
        "text": session.detokenize(session.tokenize("Hello, café\n world")),
        "shape": [sum(len(chunk) for chunk in chunks), chunks[0].shape[1]],
        "chunks": len(chunks),
        "dtype": str(chunks[0].dtype),
        "kl": float((wanted.exp() * (wanted - got)).sum(1).mean()),
        "generated": len(made.ids),
        "greedy": made.ids == scored.argmax(1)[len(prompt) - 1 : -1].tolist(),
        "times_rise": made.started < made.times[0] and sorted(made.times) == made.times,
        "again": session.generate(prompt, 40).ids == made.ids,
        "stopped": stopped.ids == made.ids[:1],
        "together": compare_with_generate(session, [ids[:50], ids[50:80], ids[80:130]]),
    }
    session.close()
    return facts


def allocated(job: WorkerJob) -> dict[str, Any]:
    """What libllama's log tells of its buffers, with the weights alone, a short and a long context, and after them."""
    session = backend.open_session(job.inputs["artifact"], {}, job)
    sizes = [session._log.bytes_on("CPU")]
    for count in (8, 600, 8):  # the last one uses the long context
        session.generate([1, 2, 3], count)
        sizes.append(session._log.bytes_on("CPU"))
    told = session.device_bytes()
    session.close()
    return {"sizes": sizes, "left": session._log.bytes_on("CPU"), "of_device": told}


def refusals(job: WorkerJob) -> dict[str, Any]:
    """What an opened session says to ids that it cannot take."""
    session = backend.open_session(job.inputs["artifact"], {}, job)
    said = {}
    for name, ids in (("none", []), ("negative", [1, -1]), ("beyond", [1, 1 << 20])):
        try:
            list(session.score(ids))
        except EdgehoneError as error:
            said[name] = error.message
    session.close()
    session.close()
    return said


def damaged(job: WorkerJob) -> None:
    """Open what is no GGUF file."""
    (job.out / ARTIFACT).write_bytes(b"GGUF" + bytes(64))
    backend.open_session(job.out, {}, job)


def unknown_cache(job: WorkerJob) -> None:
    """Ask for a KV cache that there is not."""
    backend.open_session(job.inputs["artifact"], {"kv_cache": "q3"}, job)


def vocabulary(job: WorkerJob) -> dict[str, Any]:
    """The vocabulary in a GGUF against transformers' tokenizer of what it was made of."""
    from transformers import AutoTokenizer

    found = gguf.open_tokenizer(job.inputs["model"], job)
    original = AutoTokenizer.from_pretrained(job.inputs["original"])
    found.save(job.out)
    ids, sizes = found.encode(PLAIN)
    plain = original(PLAIN, add_special_tokens=False)["input_ids"]
    return {
        "same_ids": found.tokenize(PLAIN) == original(PLAIN)["input_ids"] and ids == plain,
        "bos": found.bos,
        "eos": found.eos,
        "vocabulary": found.vocabulary,
        "sizes": len(sizes) == len(ids) and sum(sizes) == len(PLAIN.encode()),
        "special": special_tokens(job.out),
        "template": read_template(job.out),
    }


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "##a", "##b"]


def make_encoder(job: WorkerJob) -> None:
    """A small encoder with random weights and a tokenizer that llama.cpp does not know."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = AutoConfig.for_model(job.args["model_type"], vocab_size=len(WORDS), **job.args["config"])
    model = AutoModel.from_config(config).eval()
    for weights in model.parameters():
        if weights.dim() == 2:
            weights.data.normal_(0, 0.08)
    model.save_pretrained(job.out)
    words = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(job.out)


def encode(job: WorkerJob) -> dict[str, Any]:
    """The hidden states of a padded batch by libllama and by transformers; what cannot be fed."""
    import numpy as np
    import torch
    from transformers import AutoModel

    original = AutoModel.from_pretrained(job.inputs["model"], dtype=torch.float32).eval()
    session = backend.open_graph(job.inputs["artifact"], {"positions": original.config.model_type}, job)
    ids = np.random.default_rng(0).integers(5, len(WORDS), (3, 40))
    mask = np.ones_like(ids)
    mask[1, 25:] = mask[2, 7:] = 0
    with torch.inference_mode():
        wanted = original(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).last_hidden_state
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    got = session.run(feeds)["last_hidden_state"]
    used, states = mask > 0, wanted.numpy()
    error = np.linalg.norm(got[used] - states[used]) / np.linalg.norm(states[used])
    said = {}
    for name, change in {
        "types": {"token_type_ids": mask},
        "ids": {"input_ids": ids + 1000},
        "mask": {"attention_mask": mask[:, :3]},
        "long": {"input_ids": np.full((1, 500), 5)},
        "others": {"pixel_values": ids},
    }.items():
        try:
            session.run({"input_ids": ids} | change)
        except EdgehoneError as problem:
            said[name] = problem.message
    session.close()
    session.close()
    return {
        "shape": list(got.shape),
        "dtype": str(got.dtype),
        "error": float(error),
        "padding": float(np.abs(got[~used]).max()),
        "said": said,
    }


def calibration_ids(job: WorkerJob) -> None:
    """A calibration folder with the first ids of the shipped text."""
    import json

    from transformers import AutoTokenizer

    from edgehone.inputs.texts import shipped

    tokenizer = AutoTokenizer.from_pretrained(job.inputs["model"])
    ids = tokenizer(shipped("calibration").read_text("utf-8"), add_special_tokens=False)["input_ids"]
    (job.out / "ids.json").write_text(json.dumps(ids[:8192]), "utf-8")
    (job.out / "bos.json").write_text("[1]", "utf-8")


def divergence(job: WorkerJob) -> dict[str, Any]:
    """Mean KL of one GGUF from another over 400 ids of the shipped evaluation text."""
    import numpy as np

    from edgehone.inputs.texts import shipped

    found = []
    for name in ("exact", "artifact"):
        session = backend.open_session(job.inputs[name], {}, job)
        ids = session.tokenize(shipped("evaluation").read_text("utf-8")[:4000])[:400]
        logits = np.concatenate(list(session.score(ids))).astype(np.float64)
        logits -= logits.max(1, keepdims=True)
        found.append(logits - np.log(np.exp(logits).sum(1, keepdims=True)))
        session.close()
    return {"kl": float((np.exp(found[0]) * (found[0] - found[1])).sum(1).mean())}


def decoded(job: WorkerJob) -> dict[str, Any]:
    """Random blocks of every type with a layout, decoded by their codes and by gguf-py; the largest difference."""
    import sys

    import numpy as np

    from edgehone.backends.llamacpp import codes, lookup, scales

    sys.path.insert(0, str(toolchain_of(job).convert().parent / "gguf-py"))
    import gguf as library

    found = {}
    for kind, (size, weights, _) in codes.LAYOUTS.items():
        raw = np.random.default_rng(0).integers(0, 256, (64, size), dtype=np.uint8)
        half = np.frombuffer(np.array([0.01], "<f2").tobytes(), np.uint8)
        for start in job.args["halves"][kind]:
            raw[:, start : start + 2] = half
        expected = library.dequantize(raw, library.GGMLQuantizationType[kind]).reshape(64, weights)
        grid = codes.grid(kind, raw.reshape(-1), 64)
        own = codes.codes(kind, raw.reshape(-1), 64) * grid.scale - grid.zero
        found[kind] = float(np.abs(own - expected).max())
    for kind, table in lookup.TABLES.items():
        raw = np.random.default_rng(0).integers(0, 256, (64, table.size), dtype=np.uint8)
        raw[:, :2] = half
        expected = library.dequantize(raw, library.GGMLQuantizationType[kind]).reshape(64, table.block)
        read = scales.read(kind, raw.reshape(-1), 64)
        each = np.repeat(read.step, len(read.integers) // len(read.step), 0) * read.integers
        own = lookup.values(kind, raw.reshape(-1), 64) * np.repeat(each, scales.FORMS[kind].group, 0).T
        found[kind] = float(np.abs(own - expected).max())
    return found


def opened(job: WorkerJob) -> dict[str, Any]:
    """Open a session with the settings given, and score two ids. args: settings."""
    session = backend.open_session(job.inputs["artifact"], job.args["settings"], job)
    rows = sum(len(chunk) for chunk in session.score([1, 2]))
    session.close()
    return {"rows": rows}


def drafted(job: WorkerJob) -> dict[str, Any]:
    """Generation with drafts against plain generation: the tokens, and how many passes they took."""
    ids = [1, 100, 101, 102, 103, 100, 101, 102, 103, 100, 101]
    plain = backend.open_session(job.inputs["artifact"], {}, job)
    wanted = plain.generate(ids, 60).ids
    plain.close()
    facts: dict[str, Any] = {}
    for settings in ({"prompt_lookup": 3}, {"prompt_lookup": 8}, {"draft": 3}):
        session = backend.open_session(job.inputs["artifact"], settings, job)
        made = session.generate(ids, 60)
        facts[json.dumps(settings)] = {
            "same": made.ids == wanted,
            "again": session.generate(ids, 60).ids == wanted,
            "stopped": session.generate(ids, 60, lambda token: token == wanted[4]).ids
            == wanted[: wanted.index(wanted[4]) + 1],
            "one": session.generate(ids, 1).ids == wanted[:1],
            "tokens": len(made.ids),
            "passes": len(set(made.times)),
        }
        session.close()
    return facts


def wrong_checkpoint(job: WorkerJob) -> dict[str, Any]:
    """The checkpoint of a GGUF file by a table that says something else of its architecture."""
    from dataclasses import replace

    from edgehone.backends.llamacpp import checkpoint, checkpoint_config

    right = checkpoint_config.architectures()
    wrong = {name: replace(one, **job.args) for name, one in right.items()}
    for module in (checkpoint, checkpoint_config):
        setattr(module, "architectures", lambda: wrong)  # noqa: B010 - of modules that export what they import
    return checkpoint.write(job)
