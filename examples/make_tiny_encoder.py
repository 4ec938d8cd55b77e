"""Make a tiny BERT-like encoder of random weights with a WordPiece tokenizer: for tests of shapes and conversions.

Writes a Hugging Face folder of BertModel (feature-extraction) or BertForSequenceClassification (text-classification).
The tokenizer is trained on the text that edgehone ships for calibration. A second or two in the pytorch environment::

    python examples/make_tiny_encoder.py --out tiny-encoder
    python examples/make_tiny_encoder.py --task text-classification --out tiny-classifier
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

VOCABULARY = 1024
CONTEXT = 128
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
TEXT = Path(__file__).resolve().parents[1] / "src" / "edgehone" / "data" / "texts" / "calibration.txt"
TASKS = {"feature-extraction": BertModel, "text-classification": BertForSequenceClassification}


def make_tokenizer(text: Path) -> PreTrainedTokenizerFast:
    """Return a lower-case WordPiece tokenizer that adds [CLS] and [SEP], as BERT's does."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL.values()), show_progress=False
    )
    tokenizer.train([str(text)], trainer)
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=CONTEXT,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL,
    )


def make(out: Path, task: str, seed: int) -> None:
    """Write config.json, model.safetensors and the tokenizer's files."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=CONTEXT, num_labels=3, initializer_range=0.2,
    )  # fmt: skip
    TASKS[task](config).eval().save_pretrained(out)
    make_tokenizer(TEXT).save_pretrained(out)


def main() -> None:
    """Make the encoder that the command line names."""
    parser = argparse.ArgumentParser(description="make a tiny encoder of random weights")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--task", choices=sorted(TASKS), default="feature-extraction")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    make(given.out, given.task, given.seed)
    print(f"{given.task} in {given.out}")


if __name__ == "__main__":
    main()
