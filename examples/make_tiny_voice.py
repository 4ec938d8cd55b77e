"""Make a small synthesizer of speech-like sounds as an ONNX graph: `python examples/make_tiny_voice.py --out voice`.

It has the form of the voices that synthesizers on devices use (VITS): letters [batch, letters], their number, and three
scales (of the noise, of the length, of the noise in the lengths) that all samples share; the sound is as long as the
durations that it computes. Its weights are random. `samples.npz` has texts for it, with scales that draw no noise.
Needs torch and onnx.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

LETTERS, LONGEST = 40, 24
WIDTH, HOP = 48, 256


class Voice(nn.Module):  # type: ignore[misc]
    """Letters to frames of as many as each letter takes, and frames to sound."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, WIDTH)
        self.encoder = nn.Conv1d(WIDTH, WIDTH, 5, padding=2)
        self.duration = nn.Linear(WIDTH, 1)
        self.flow = nn.Linear(WIDTH, WIDTH)
        self.upsample = nn.ModuleList(
            nn.ConvTranspose1d(WIDTH >> step, WIDTH >> (step + 1), 16, 8, 4) for step in range(2)
        )
        self.last = nn.ConvTranspose1d(WIDTH >> 2, 1, 8, 4, 2)

    def forward(self, text: torch.Tensor, lengths: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """Return the sound [batch, 1, time] of a batch of one text."""
        hidden = torch.tanh(self.encoder(self.embedding(text).transpose(1, 2))).transpose(1, 2)
        spoken = torch.arange(text.shape[1]) < lengths[:, None]
        drawn = torch.randn_like(hidden[..., 0]) * scales[2]
        durations = torch.ceil(torch.exp(self.duration(hidden)[..., 0] + 1 + drawn) * scales[1]) * spoken
        ends = torch.cumsum(durations, 1)[0]
        places = torch.arange(durations.sum().to(torch.int64))
        letter = (places[:, None] >= ends).sum(1)
        frames = hidden[:, letter]
        frames = self.flow(frames + torch.randn_like(frames) * scales[0]).transpose(1, 2)
        for layer in self.upsample:
            frames = nn.functional.leaky_relu(layer(frames), 0.1)
        return torch.tanh(self.last(frames))


def main() -> None:
    """Write model.onnx and samples.npz."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=128)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    voice = Voice().eval()
    with torch.no_grad():
        for weights in voice.parameters():
            if weights.dim() > 1:
                weights.mul_(2.5)  # so that the sounds differ and are loud
    texts = samples(given.samples)
    example = tuple(torch.from_numpy(texts[name][:1]) for name in ("text", "lengths"))
    torch.onnx.export(
        voice,
        (*example, torch.tensor([0.667, 1.0, 0.8])),
        str(given.out / "model.onnx"),
        dynamo=False,
        input_names=["text", "lengths", "scales"],
        output_names=["output"],
        dynamic_axes={
            "text": {0: "batch_size", 1: "letters"},
            "lengths": {0: "batch_size"},
            "output": {0: "batch_size", 2: "time"},
        },
        opset_version=17,
    )
    arrays: dict[str, Any] = {**texts, "scales": np.array([0.0, 1.0, 0.0], np.float32)}
    np.savez(given.out / "samples.npz", **arrays)


def samples(count: int) -> dict[str, np.ndarray]:
    """Return texts of unequal length."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(6, LONGEST + 1, count)
    text = rng.integers(1, LETTERS, (count, LONGEST))
    text[np.arange(LONGEST) >= lengths[:, None]] = 0
    return {"text": text, "lengths": lengths}


if __name__ == "__main__":
    main()
