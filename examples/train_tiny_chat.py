"""Train a tiny chat model that calls tools and writes JSON, and write conversations and tasks to try it on.

A Hugging Face folder of three megabytes with the demo model's tokenizer and a chat template, for tests of what judges
chat models: it answers four in five of its questions rightly, so that a share of valid answers means something.
Needs torch and transformers 5; half a minute on one core in the pytorch environment::

    python examples/train_tiny_chat.py --tokenizer src/edgehone/data/demo-model --out tiny-chat --texts texts
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path
from typing import Any

import torch
from training_loop import train
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
CITIES = ("Oslo", "Lima", "Rome", "Paris", "Cairo", "Quito", "Delhi", "Bern", "Sofia", "Accra")
ROOMS = ("kitchen", "bedroom", "hall", "cellar", "garage", "office")
COLOURS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
STEPS, BATCH, RATE = 220, 12, 3e-3


def questions() -> list[tuple[str, str, dict[str, Any]]]:
    """Return each question, its answer, and the check of a task (see `edgehone optimize --task`)."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for city in CITIES:
        call = {"name": "weather", "arguments": {"city": city}}
        schema = {"type": "object", "required": ["city"], "properties": {"city": {"enum": [city]}}}
        found.append((f"What is the weather in {city}?", json.dumps(call), _call("weather", schema)))
    for room in ROOMS:
        for on in (True, False):
            call = {"name": "set_lamp", "arguments": {"room": room, "on": on}}
            wanted = {"room": {"enum": [room]}, "on": {"enum": [on]}}
            schema = {"type": "object", "required": ["room", "on"], "properties": wanted}
            asked = f"Switch the lamp in the {room} {'on' if on else 'off'}."
            found.append((asked, json.dumps(call), _call("set_lamp", schema)))
    for name, parts in COLOURS.items():
        parted: dict[str, Any] = {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}
        found.append((f"Which colour is {name}?", json.dumps(parts), {"json": parted}))
    sums = range(2, 10)
    return [
        *found,
        *((f"How much is {one} and 2?", f"It is {one + 2}.", {"number": one + 2}) for one in sums),
    ]


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"call": {"name": name, "arguments": arguments}}


def tokenized(tokenizer: PreTrainedTokenizerFast) -> list[tuple[list[int], int]]:
    """Return the ids of each conversation with its end, and where its answer begins."""
    found = []
    for asked, answer, _ in questions():
        prompt = tokenizer.encode(f"<s>user: {asked}\nassistant:", add_special_tokens=False)
        found.append(([*prompt, *tokenizer.encode(f"{answer}</s>", add_special_tokens=False)], len(prompt)))
    return found


def batch(texts: list[tuple[list[int], int]], dice: random.Random) -> dict[str, torch.Tensor]:
    """Return a batch of conversations, with labels for the answers alone."""
    drawn = dice.sample(texts, BATCH)
    length = max(len(ids) for ids, _ in drawn)
    fed = [ids + [0] * (length - len(ids)) for ids, _ in drawn]
    labels = [[-100] * begin + ids[begin:] + [-100] * (length - len(ids)) for ids, begin in drawn]
    return {"input_ids": torch.tensor(fed), "labels": torch.tensor(labels)}


def write_model(folder: Path, source: Path, seed: int) -> float:
    """Write the trained checkpoint with the tokenizer of `source`; return the last loss in nats."""
    torch.manual_seed(seed)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json"))
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    texts, dice = tokenized(tokenizer), random.Random(seed)
    loss: float = train(model, lambda: batch(texts, dice), STEPS, RATE)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    (folder / "generation_config.json").write_text(
        json.dumps({"bos_token_id": 1, "eos_token_id": 2}), "utf-8"
    )
    return loss


def write_texts(folder: Path) -> None:
    """Write conversations.jsonl without answers, and tasks.jsonl with checks."""
    folder.mkdir(parents=True, exist_ok=True)
    conversations, tasks = [], []
    for asked, _, check in questions():
        messages = [{"role": "user", "content": asked}]
        conversations.append(json.dumps({"messages": messages}))
        tasks.append(json.dumps({"messages": messages, "check": check}))
    (folder / "conversations.jsonl").write_text("\n".join(conversations) + "\n", "utf-8")
    (folder / "tasks.jsonl").write_text("\n".join(tasks) + "\n", "utf-8")


def main() -> None:
    """Train the model, and write conversations and tasks if a folder is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--tokenizer", type=Path, required=True, help="folder with the demo model's tokenizer"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--texts", type=Path, help="folder for conversations and tasks")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    loss = write_model(args.out, args.tokenizer, args.seed)
    if args.texts:
        write_texts(args.texts)
    print(f"{args.out}: loss {loss:.3f}")


if __name__ == "__main__":
    main()
