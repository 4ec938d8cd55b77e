"""Functions that the openvino tests run in the openvino backend's environment."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

from edgehone.backends.openvino import backend
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared import torch_export
from edgehone.core.errors import EdgehoneError
from edgehone.worker.conformance.generation_checks import compare_with_generate


def probe(job: WorkerJob) -> dict[str, Any]:
    """Score and generate with one artifact, and report what each of the two loads."""
    import numpy as np

    ids = [int(i) for i in job.args["ids"]]
    settings = job.args["settings"]
    session: Any = backend.open_session(job.inputs["artifact"], settings, job)
    made = session.generate(ids, 12)
    alone = session._request is None
    again = session.generate(ids, 12)
    stopped = session.generate(ids, 12, lambda token: token == made.ids[3])
    chunks = list(session.score(ids))
    twice = np.concatenate(list(session.score(ids)))
    logits = np.concatenate(list(session.score(ids + made.ids[:-1])))
    facts = {
        "alone": alone,
        "torch": "torch" in sys.modules,
        "chunks": [len(chunk) for chunk in chunks],
        "dtype": str(chunks[0].dtype),
        "repeatable": bool(np.array_equal(np.concatenate(chunks), twice)) and made.ids == again.ids,
        "ids": made.ids,
        "argmax": [int(i) for i in logits[len(ids) - 1 :].argmax(1)],
        "ordered": made.started < made.times[0] and made.times == sorted(made.times),
        "times": len(made.times),
        "stopped": stopped.ids,
        "together": compare_with_generate(session, [ids, ids[:15], [*ids[-3:], *ids[3:]]]),
        "text": session.detokenize(session.tokenize("Hello, café\n world")),
        # A model compiled for HETERO does not have this property.
        "kv_cache": ""
        if "device" in settings
        else session._scorer().get_compiled_model().get_property("KV_CACHE_PRECISION").to_string(),
    }
    session.close()
    return facts


def make_graphs(job: WorkerJob) -> dict[str, Any]:
    """Write a small network as .onnx and .pt2, samples, and PyTorch's outputs for the last five."""
    import numpy as np
    import torch
    from torch.onnx._internal.torchscript_exporter import onnx_proto_utils

    torch.manual_seed(0)
    network = _network().eval()
    batch = torch.export.Dim("batch")
    example = (torch.randn(2, 1, 8, 8), torch.rand(2))
    shapes = ({0: batch}, {0: batch})
    program = torch.export.export(network, example, dynamic_shapes=shapes)
    # torch writes guards, which are Python source, for related dynamic sizes. edgehone refuses files with guards.
    program._guards_code = []
    torch.export.save(program, job.out / "net.pt2")
    # Skips a step for functions, which this network does not use: it needs the onnx package, which is not installed.
    onnx_proto_utils._add_onnxscript_fn = lambda model, _: model
    names = {"input_names": ["image", "scale"], "output_names": ["probabilities", "mean"]}
    dynamic = {name: {0: "batch"} for pair in names.values() for name in pair}
    torch.onnx.export(network, example, job.out / "net.onnx", dynamo=False, dynamic_axes=dynamic, **names)
    fixed = job.out / "fixed.onnx"
    torch.onnx.export(network, example, fixed, dynamo=False, **names)

    rng = np.random.default_rng(0)
    image = rng.normal(size=(45, 1, 8, 8)).astype(np.float32)
    scale = rng.random(45).astype(np.float32)
    (job.out / "samples").mkdir()
    np.savez(job.out / "samples" / "samples.npz", image=image[:40], scale=scale[:40])
    with torch.no_grad():
        outputs = network(torch.from_numpy(image[40:]), torch.from_numpy(scale[40:]))
    probabilities, mean = (tensor.numpy() for tensor in outputs)
    np.savez(job.out / "asked.npz", image=image[40:], scale=scale[40:])
    np.savez(job.out / "answers.npz", probabilities=probabilities, mean=mean)
    return {}


def _network() -> Any:
    import torch

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv2d(1, 8, 3, padding=1)
            self.linear = torch.nn.Linear(8 * 64, 10)

        def forward(self, image: Any, scale: Any) -> Any:
            features = torch.relu(self.convolution(image)) * scale[:, None, None, None]
            return torch.softmax(self.linear(features.flatten(1)), -1), features.mean((1, 2, 3))

    return Network()


def make_encoder(job: WorkerJob) -> dict[str, Any]:
    """Write a small random BERT classifier, samples of ids, and PyTorch's outputs for three rows of different
    lengths.
    """
    import numpy as np
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=100, max_position_embeddings=64, num_labels=3, **sizes)
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(job.out / "encoder")

    rng = np.random.default_rng(0)
    mask = (np.arange(12) < rng.integers(3, 13, (35, 1))).astype(np.int64)
    ids = rng.integers(5, 99, (35, 12)) * mask
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    (job.out / "samples").mkdir()
    samples: dict[str, Any] = {name: array[:32] for name, array in feeds.items()}
    asked: dict[str, Any] = {name: array[32:] for name, array in feeds.items()}
    np.savez(job.out / "samples" / "samples.npz", **samples)
    np.savez(job.out / "asked.npz", **asked)
    with torch.no_grad():
        logits = model(**{name: torch.from_numpy(array[32:]) for name, array in feeds.items()}).logits.numpy()
    np.savez(job.out / "answers.npz", logits=logits)
    return {}


class Touch:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def open_hostile(job: WorkerJob) -> dict[str, Any]:
    """Open a .pt2 whose example inputs are code, with edgehone and with torch."""
    import torch

    trap, sound, hostile = job.out / "trap", job.out / "sound.pt2", job.out / "hostile.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(4, 2).eval(), (torch.zeros(1, 4),)), sound)
    code = io.BytesIO()
    torch.save(Touch(trap), code)
    with zipfile.ZipFile(sound) as source, zipfile.ZipFile(hostile, "w") as target:
        for name in source.namelist():
            target.writestr(name, code.getvalue() if "sample_inputs" in name else source.read(name))
    facts: dict[str, Any] = {"sound": type(torch_export.load(sound)).__name__}
    for name, load in (("edgehone", torch_export.load), ("torch", torch.export.load)):
        try:
            load(hostile)
        except Exception as error:  # noqa: BLE001 - any error is reported
            facts[f"{name}_error"] = f"{type(error).__name__}: {error}"
        facts[f"{name}_ran"] = trap.exists()
    return facts


def ask(job: WorkerJob) -> dict[str, Any]:
    """Run a graph on asked.npz; return the names and the largest difference from answers.npz."""
    import numpy as np

    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    with np.load(job.inputs["asked"]) as asked, np.load(job.inputs["answers"]) as answers:
        feeds = {job.args["rename"].get(name, name): asked[name] for name in asked}
        outputs = session.run(feeds)
        expected = [answers[name] for name in answers]
    refused = ""
    try:
        session.run({"nothing": np.zeros(1)})
    except EdgehoneError as error:
        refused = str(error)
    session.close()
    return {
        "outputs": list(outputs),
        "shapes": [list(array.shape) for array in outputs.values()],
        "difference": max(float(abs(a - b).max()) for a, b in zip(outputs.values(), expected, strict=True)),
        "refused": refused,
        "torch": "torch" in sys.modules,
    }


def feed_by_shapes(job: WorkerJob) -> dict[str, Any]:
    """Run a graph with static shapes on the device with batches of several sizes, and compare it with free shapes."""
    import numpy as np

    with np.load(job.inputs["samples"]) as file:
        image = file["image"]
    settings = {"inference_precision": "f32"}
    free: Any = backend.open_graph(job.inputs["artifact"], settings, job)
    static: Any = backend.open_graph(
        job.inputs["artifact"], {**settings, "device": job.args["device"], "static": True}, job
    )
    differences = [
        abs(static.run({"image": image[:size]})["logits"] - free.run({"image": image[:size]})["logits"]).max()
        for size in (3, 1, 3)
    ]
    return {"compiled": len(static._requests), "difference": float(max(differences))}


def fill_the_cache(job: WorkerJob) -> dict[str, Any]:
    """Ask an engine with a small KV cache for exactly as many tokens as it holds, and for more.

    inputs: artifact. Returns for both the number of steps, and why each request ended with how many tokens.
    """
    from edgehone.backends.openvino.engine import OpenVinoEngine
    from edgehone.backends.serving import EngineRequest

    places, count = 4, 64
    engine = OpenVinoEngine(job.inputs["artifact"], {}, job.threads, places, cache=1024)
    found: dict[str, Any] = {}
    for name, length in (("full", 1024 // places - count), ("more", 2 * 1024 // places)):
        ended: dict[int, tuple[int, str | None]] = {}
        for number in range(places):
            ids = [3 + (at * (number + 3)) % 2000 for at in range(length)]
            engine.add(EngineRequest(number, ids, count))
        steps = 0
        while engine.busy and steps < 2000:
            steps += 1
            for one in engine.step():
                ended[one.number] = ended.get(one.number, (0, None))[0] + len(one.ids), one.reason
        found[name] = {"steps": steps, "ended": list(ended.values())}
    engine.add(EngineRequest(9, [5] * 2000, count))
    while engine.busy:
        found["too long"] = [(one.reason, one.error) for one in engine.step()] or found.get("too long")
    engine.close()
    return found


def draft_in_the_engine(job: WorkerJob) -> dict[str, Any]:
    """Answers of an engine that drafts from the prompt, and of one that does not; both keep no prefixes.

    inputs: artifact. Returns for both the answers of each kind of request, why they ended, and the steps of the first.
    """
    from edgehone.backends.openvino.engine import OpenVinoEngine
    from edgehone.backends.serving import EngineRequest, Produced

    ids = [1, 100, 101, 102, 103, 100, 101, 102, 103, 100, 101]
    found: dict[str, Any] = {}
    for name, more in (("plain", {}), ("drafted", {"prompt_lookup": 3})):
        engine = OpenVinoEngine(
            job.inputs["artifact"], {"prefix_cache": False, **more}, job.threads, 4, cache=2048
        )

        def answered(
            *asked: EngineRequest, by: OpenVinoEngine = engine
        ) -> tuple[list[list[int]], list[Any], int]:
            for one in asked:
                by.add(one)
            seen: dict[int, list[Produced]] = {one.number: [] for one in asked}
            steps = 0
            while by.busy:
                steps += 1
                for produced in by.step():
                    seen[produced.number].append(produced)
            tokens = [[token for part in parts for token in part.ids] for parts in seen.values()]
            told = [sum(len(part.logprobs) for part in parts) for parts in seen.values()]
            return (
                tokens,
                [(parts[-1].reason, count) for parts, count in zip(seen.values(), told, strict=True)],
                steps,
            )

        (greedy,), _, steps = answered(EngineRequest(1, ids, 40))
        end = frozenset({greedy[11]})
        warm = {"temperature": 0.8, "seed": 5}
        found[name] = {
            "greedy": greedy,
            "steps": steps,
            "one": answered(EngineRequest(2, ids, 1)),
            "ended": answered(EngineRequest(3, ids, 40, end)),
            "ends": greedy.index(greedy[11]),
            "together": answered(
                EngineRequest(4, ids, 40), EngineRequest(5, ids[3:], 25, options={"logprobs": True})
            )[:2],
            "drawn": [answered(EngineRequest(number, ids, 20, options=warm))[0] for number in (6, 7)],
        }
        engine.add(EngineRequest(8, ids, 40))
        engine.step()
        engine.cancel(8)
        found[name]["after"] = answered(EngineRequest(9, ids, 40))[0]
        engine.close()
    return found
