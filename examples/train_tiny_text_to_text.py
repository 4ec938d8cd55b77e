"""Train a tiny T5 that writes digits as words, and write texts to try it on.

A Hugging Face folder of about a megabyte with a working tokenizer, for tests of toolchains that take encoder-decoder
models: it writes most numbers without a mistake, so that a word error rate means something. Needs torch and
transformers 5; half a minute on one core in the pytorch environment::

    python examples/train_tiny_text_to_text.py --out tiny-t5 --texts numbers.txt
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from training_loop import train
from training_options import options
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
VOCABULARY, STEPS, BATCH, RATE = 384, 600, 32, 3e-3


def drawn(rng: np.random.Generator) -> list[int]:
    """Return two to eight digits."""
    return [int(one) for one in rng.integers(0, 10, rng.integers(2, 9))]


def source(digits: list[int]) -> str:
    """Return the text that the model gets."""
    return "write " + " ".join(str(one) for one in digits)


def target(digits: list[int]) -> str:
    """Return the text that the model gives."""
    return " ".join(WORDS[one] for one in digits)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer that ends a text as T5's does."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, UNKNOWN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"write {one} {other}" for one in WORDS for other in WORDS] * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(f"$A {END}", special_tokens=[(END, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=64
    )


def write_model(folder: Path, seed: int) -> float:
    """Write the trained checkpoint with its tokenizer; return the last loss in nats."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tokenizer = make_tokenizer()
    config = T5Config(
        vocab_size=len(tokenizer), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_decoder_layers=2, num_heads=4,
        dropout_rate=0.0, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, n_positions=64,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    loss: float = train(model, lambda: batch(tokenizer, rng), STEPS, RATE)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    generation = {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "max_length": 32}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1), "utf-8")
    return loss


def batch(tokenizer: Any, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Return a batch of drawn numbers."""
    numbers = [drawn(rng) for _ in range(BATCH)]
    fed = tokenizer([source(one) for one in numbers], padding=True, return_tensors="pt")
    wanted = tokenizer([target(one) for one in numbers], padding=True, return_tensors="pt")
    labels = wanted.input_ids.masked_fill(wanted.attention_mask == 0, -100)
    return {"input_ids": fed.input_ids, "attention_mask": fed.attention_mask, "labels": labels}


def main() -> None:
    """Train the model, and write texts if a file is given."""
    args = options(__doc__, "texts", "file for texts, one a line", 128)
    torch.set_num_threads(1)
    loss = write_model(args.out, args.seed)
    if args.samples:
        rng = np.random.default_rng(args.seed + 1)
        lines = dict.fromkeys(source(drawn(rng)) for _ in range(args.count))
        args.samples.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"{args.out}: loss {loss:.3f}")


if __name__ == "__main__":
    main()
