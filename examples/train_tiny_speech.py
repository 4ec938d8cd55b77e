"""Train a tiny Whisper that hears digits as pairs of tones (those of telephone keys), and write sounds to try it on.

A Hugging Face folder of about a megabyte with a working tokenizer and feature extractor, for tests of toolchains that
take encoder-decoder models: it transcribes most clips without a mistake, so that a word error rate means something.
Clips last 3 seconds at most. Needs torch and transformers 5; half a minute on one core in the pytorch environment::

    python examples/train_tiny_speech.py --out tiny-whisper --sounds tones
"""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from training_loop import train
from training_options import options
from transformers import (
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

RATE, SECONDS, DIGIT, PAUSE = 16_000, 3, 0.28, 0.1
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Frequencies of the keys 0 to 9 in hertz (ITU-T Q.23).
LOW = (941, 697, 697, 697, 770, 770, 770, 852, 852, 852)
HIGH = (1336, 1209, 1336, 1477, 1209, 1336, 1477, 1209, 1336, 1477)
SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
END, START, ENGLISH, TRANSCRIBE, NO_TIMESTAMPS = range(5)
PROMPT = [START, ENGLISH, TRANSCRIBE, NO_TIMESTAMPS]
TEXT = Path(__file__).resolve().parents[1] / "src" / "edgehone" / "data" / "texts" / "calibration.txt"
STEPS, BATCH, CLIPS, LEARNING_RATE = 500, 24, 480, 4e-3


def clip(digits: list[int], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return the sound of some digits, each a pair of tones after a pause, in noise."""
    parts = []
    for digit in digits:
        at = np.arange(int(DIGIT * RATE)) / RATE
        tone = np.sin(2 * np.pi * LOW[digit] * at) + np.sin(2 * np.pi * HIGH[digit] * at)
        parts += [np.zeros(int(rng.uniform(0.5, 1.5) * PAUSE * RATE)), tone * rng.uniform(0.1, 0.3)]
    sound = np.concatenate(parts)
    return (sound + rng.normal(0, 0.01, len(sound))).astype(np.float32)


def drawn(rng: np.random.Generator) -> list[int]:
    """Return one to seven digits."""
    return [int(one) for one in rng.integers(0, 10, rng.integers(1, 8))]


def words(digits: list[int]) -> str:
    """Return the transcript."""
    return " ".join(WORDS[one] for one in digits)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer that writes Whisper's prompt before a text and its end after it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = [f"{one} {other}" for one in WORDS for other in WORDS] * 20 + TEXT.read_text(
        "utf-8"
    ).splitlines()[:200]
    tokenizer.train_from_iterator(lines, trainer)
    prompt = " ".join(SPECIAL[one] for one in PROMPT)
    tokenizer.post_processor = processors.TemplateProcessing(
        f"{prompt} $A {SPECIAL[END]}", special_tokens=[(name, number) for number, name in enumerate(SPECIAL)]
    )
    end = SPECIAL[END]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=end,
        eos_token=end,
        pad_token=end,
        unk_token=end,
        model_max_length=64,
    )


def make_model(vocabulary: int) -> WhisperForConditionalGeneration:
    """Return the model with random weights."""
    return WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=vocabulary, num_mel_bins=80, d_model=64, encoder_layers=2, decoder_layers=2,
            encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128,
            max_source_positions=50 * SECONDS, max_target_positions=64, pad_token_id=END, bos_token_id=END,
            eos_token_id=END, decoder_start_token_id=START, suppress_tokens=None, begin_suppress_tokens=None,
        )
    )  # fmt: skip


def clips(tokenizer: Any, extractor: Any, rng: np.random.Generator) -> Callable[[], dict[str, torch.Tensor]]:
    """Draw clips, and return a function that draws batches of them."""
    spoken = [drawn(rng) for _ in range(CLIPS)]
    sounds = [clip(digits, rng) for digits in spoken]
    features = extractor(sounds, sampling_rate=RATE, return_tensors="pt").input_features
    ids = tokenizer([words(one) for one in spoken], padding=True, return_tensors="pt")
    labels = ids.input_ids.masked_fill(ids.attention_mask == 0, -100)

    def batch() -> dict[str, torch.Tensor]:
        rows = torch.from_numpy(rng.integers(0, CLIPS, BATCH))
        return {
            "input_features": features[rows],
            "decoder_input_ids": ids.input_ids[rows][:, :-1],
            "labels": labels[rows][:, 1:].contiguous(),
        }

    return batch


def write_model(folder: Path, seed: int) -> float:
    """Write the trained checkpoint with its tokenizer and feature extractor; return the last loss."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    extractor = WhisperFeatureExtractor(feature_size=80, sampling_rate=RATE, chunk_length=SECONDS)
    model = make_model(len(tokenizer))
    batch = clips(tokenizer, extractor, np.random.default_rng(seed))
    loss: float = train(model, batch, STEPS, LEARNING_RATE, decay=0.01)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    extractor.save_pretrained(folder)
    generation = {
        "decoder_start_token_id": START, "eos_token_id": END, "pad_token_id": END, "bos_token_id": END,
        "max_length": 64, "is_multilingual": True, "lang_to_id": {"<|en|>": ENGLISH},
        "task_to_id": {"transcribe": TRANSCRIBE}, "no_timestamps_token_id": NO_TIMESTAMPS,
        "suppress_tokens": [START, TRANSCRIBE], "begin_suppress_tokens": [END],
    }  # fmt: skip
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1), "utf-8")
    return loss


def write_sounds(folder: Path, count: int, seed: int) -> None:
    """Write WAV files with their transcripts beside them, in files of the same name that end in .txt."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        digits = drawn(rng)
        path = folder / f"clip{number:03}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes((clip(digits, rng) * 32767).astype("<i2").tobytes())
        path.with_suffix(".txt").write_text(words(digits) + "\n", "utf-8")


def main() -> None:
    """Train the model, and write sounds if a folder is given."""
    args = options(__doc__, "sounds", "folder for WAV files and their transcripts", 104)
    torch.set_num_threads(1)
    loss = write_model(args.out, args.seed)
    if args.samples:
        write_sounds(args.samples, args.count, args.seed + 1)
    print(f"{args.out}: loss {loss:.3f}")


if __name__ == "__main__":
    main()
