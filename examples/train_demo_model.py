"""Train the demo model: a 3.7 M parameter Llama with its SentencePiece tokenizer, on any plain text.

Writes a Hugging Face folder (bfloat16 weights, under 8 MB) that every backend of edgehone can read: rows
divide by 256, as K-quants need, and the tokenizer has byte fallback as Llama 2's, which llama.cpp converts.
Needs torch, transformers 5, tokenizers and sentencepiece; some 15 minutes on two free CPU cores::

    python examples/fetch_demo_text.py --training demo-training.txt
    python examples/train_demo_model.py demo-training.txt --out demo-model
"""

from __future__ import annotations

import argparse
import io
import json
import math
import shutil
import time
from pathlib import Path

import sentencepiece as spm
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

VOCABULARY = 2048
CONTEXT = 1024
WINDOW = 256  # tokens; every fourth step takes windows of CONTEXT, so that late positions are trained too
STEP_TOKENS = 4096
BOS, EOS = 1, 2
ROOT = Path(__file__).resolve().parents[1]
EVALUATION = ROOT / "src" / "edgehone" / "data" / "texts" / "evaluation.txt"

# The generic class takes tokenizer.json as it is. LlamaTokenizer of transformers 5 rebuilds it, and then text
# that starts with a space gets other ids than from sentencepiece.
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": True,
    "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "model_max_length": CONTEXT,
}  # fmt: skip

CARD = """---
license: apache-2.0
language: en
pipeline_tag: text-generation
---
# edgehone demo model

A Llama of {parameters:,} parameters for trying out compression and deployment: trained, so that quantization
costs it quality in a measurable way, and of no other use. It continues text in the style of its training data
and knows nothing. Trained on the annual messages of the presidents of the United States to Congress, 1790 to
1928 (public domain), less the six held out for evaluation and calibration, by `examples/train_demo_model.py`
({steps} steps, seed {seed}). On the {tokens:,} tokens of the held-out `{evaluation}`, in windows of BOS and
{window} tokens, the saved weights in float32 have loss {loss:.4f} nats a token, perplexity {perplexity:.2f},
next-token accuracy {accuracy:.1%}.
"""


def train_tokenizer(texts: list[Path], out: Path) -> spm.SentencePieceProcessor:
    """Train a tokenizer with ids 0, 1, 2 for unknown, BOS and EOS; write its three files."""
    lines = (line for path in texts for line in path.read_text("utf-8").splitlines())
    written = io.BytesIO()  # a file name would be recorded in the model
    spm.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=written, model_type="bpe", vocab_size=VOCABULARY, pad_id=-1,
        byte_fallback=True, character_coverage=0.9999, split_digits=True, num_threads=1, minloglevel=2,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
    )  # fmt: skip
    (out / "tokenizer.model").write_bytes(written.getvalue())
    (out / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2) + "\n")
    tokenizer = spm.SentencePieceProcessor(model_proto=written.getvalue())
    fast_tokenizer(tokenizer).save(str(out / "tokenizer.json"))
    return tokenizer


def fast_tokenizer(tokenizer: spm.SentencePieceProcessor) -> Tokenizer:
    """Return the same tokenizer for the tokenizers package, with BOS: merges rank by the id they make."""
    vocabulary = {tokenizer.id_to_piece(i): i for i in range(VOCABULARY)}
    joined = [piece for piece, i in vocabulary.items() if i > 2 and not tokenizer.is_byte(i)]
    pairs = [(piece[:cut], piece[cut:]) for piece in joined for cut in range(1, len(piece))]
    merges = [(left, right) for left, right in pairs if left in vocabulary and right in vocabulary]
    fast = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s>:1 $B:1", [("<s>", BOS)])
    spaces, strip = decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)
    fast.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse(), strip])
    fast.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")])
    return fast


def encode(tokenizer: spm.SentencePieceProcessor, texts: list[Path]) -> torch.Tensor:
    """Return the ids of the texts one after the other, without BOS: int64, shape (tokens,)."""
    return torch.tensor([i for path in texts for i in tokenizer.encode(path.read_text("utf-8"))])


def new_model() -> LlamaForCausalLM:
    """Return the untrained model."""
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=768, num_hidden_layers=4, head_dim=64,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=CONTEXT,
        tie_word_embeddings=True, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def optimizers(model: LlamaForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for n, p in model.named_parameters() if p.ndim == 1 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, weight_decay=0.01, betas=(0.9, 0.95)),
    ]


def schedule(step: int, steps: int) -> float:
    """Factor on the learning rate: linear warm-up over the first 4 %, then a cosine down to 2 %."""
    warm = max(1, steps // 25)
    cosine = math.cos(math.pi * (step - warm) / max(1, steps - warm))
    return (step + 1) / warm if step < warm else 0.02 + 0.49 * (1 + cosine)


def sample(ids: torch.Tensor, length: int, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw windows of STEP_TOKENS in all: inputs (BOS first) and targets, each of shape (windows, length)."""
    starts = torch.randint(len(ids) - length, (STEP_TOKENS // length,), generator=source).tolist()
    targets = torch.stack([ids[s : s + length] for s in starts])
    return with_bos(targets), targets


def with_bos(targets: torch.Tensor) -> torch.Tensor:
    """Shift ``targets`` right by one with BOS in front, which gives the model's inputs."""
    return torch.cat([torch.full((len(targets), 1), BOS), targets[:, :-1]], dim=1)


def train(model: LlamaForCausalLM, ids: torch.Tensor, steps: int, rate: float, seed: int) -> None:
    """Train in place, with bfloat16 arithmetic and float32 weights."""
    source = torch.Generator().manual_seed(seed)
    both = optimizers(model, rate)
    began = time.perf_counter()
    for step in range(steps):
        for group in (g for o in both for g in o.param_groups):
            group["lr"] = rate * schedule(step, steps)
        inputs, targets = sample(ids, CONTEXT if step % 4 == 3 else WINDOW, source)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=inputs, use_cache=False).logits
        loss = cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad()
        if step % 50 == 49 or step + 1 == steps:
            print(f"step {step + 1}: loss {loss.item():.3f}, {time.perf_counter() - began:.0f} s", flush=True)


def evaluate(folder: Path, ids: torch.Tensor, window: int = WINDOW) -> tuple[float, float, int]:
    """Return mean loss (nats a token), next-token accuracy and token count of the saved model in float32."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    windows = ids[: len(ids) // window * window].view(-1, window)
    loss = right = 0.0
    for targets in windows.split(16):
        with torch.inference_mode():
            logits = model(input_ids=with_bos(targets), use_cache=False).logits
        loss += cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
        right += (logits.argmax(-1) == targets).sum().item()
    return loss / windows.numel(), right / windows.numel(), windows.numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("texts", type=Path, nargs="+", help="training text, plain UTF-8")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--evaluation", type=Path, default=EVALUATION, help="held-out text, plain UTF-8")
    parser.add_argument("--steps", type=int, default=1400, help="training steps (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=8e-3, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer, model = train_tokenizer(args.texts, args.out), new_model()
    ids = encode(tokenizer, args.texts)
    print(f"{model.num_parameters():,} parameters, {len(ids):,} training tokens", flush=True)
    train(model, ids, args.steps, args.rate, args.seed)
    model.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=EOS, max_length=CONTEXT)
    model.to(torch.bfloat16).save_pretrained(args.out)
    shutil.copy(ROOT / "LICENSE", args.out)
    loss, accuracy, tokens = evaluate(args.out, encode(tokenizer, [args.evaluation]))
    card = CARD.format(
        parameters=model.num_parameters(), steps=args.steps, seed=args.seed, evaluation=args.evaluation.name,
        window=WINDOW, loss=loss, perplexity=math.exp(loss), accuracy=accuracy, tokens=tokens,
    )  # fmt: skip
    (args.out / "README.md").write_text(card, encoding="utf-8")
    print(f"held out: loss {loss:.4f}, accuracy {accuracy:.4f}, {tokens} tokens")


if __name__ == "__main__":
    main()
