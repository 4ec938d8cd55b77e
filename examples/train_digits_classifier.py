"""Train a small convolutional network on scikit-learn's handwritten digits, and export it to ONNX.

Writes digits.onnx (float32, dynamic batch), evaluation.npz (600 samples) and calibration.npz (200 others): the input's
array `image` [samples, 1, 8, 8], float32 in [0, 1], and `labels`. The remaining 997 samples train the network.
Needs what the pytorch environment holds, and scikit-learn, onnx and onnxscript beside it; 20 seconds on one core::

    pip install "torch==2.13.0" scikit-learn onnx onnxscript
    python examples/train_digits_classifier.py --out digits
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

EVALUATION, CALIBRATION = 600, 200
EPOCHS = 40
BATCH = 32

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


def split(seed: int) -> tuple[Data, Data, Data]:
    """Return disjoint training, evaluation and calibration data, shuffled by the seed."""
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    parts = np.split(order, [EVALUATION, EVALUATION + CALIBRATION])
    evaluation, calibration, training = ((images[part], labels[part]) for part in parts)
    return training, evaluation, calibration


def make() -> nn.Sequential:
    """Return a network of two convolutions and two linear layers: 64,432 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 114), nn.ReLU(), nn.Linear(114, 10),
    )  # fmt: skip


def train(network: nn.Sequential, data: Data) -> None:
    """Train with Adam, a decaying rate, and images shifted by up to one pixel."""
    images, labels = map(torch.from_numpy, data)
    steps = EPOCHS * (len(labels) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for part in torch.randperm(len(labels))[: steps // EPOCHS * BATCH].split(BATCH):
            shift = [int(i) for i in torch.randint(-1, 2, (2,))]
            logits = network(images[part].roll(shift, (2, 3)))
            optimizer.zero_grad()
            cross_entropy(logits, labels[part], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()


def accuracy(network: nn.Sequential, data: Data) -> float:
    """Return the accuracy: the share of images whose most likely digit is the label."""
    with torch.inference_mode():
        return float((network(torch.from_numpy(data[0])).argmax(1).numpy() == data[1]).mean())


def export(network: nn.Sequential, path: Path) -> None:
    """Export one ONNX file with embedded weights: `image` [batch, 1, 8, 8] to `logits` [batch, 10]."""
    torch.onnx.export(
        network.eval(),
        (torch.zeros(2, 1, 8, 8),),
        path,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        opset_version=18,
        dynamo=True,
    )
    model = onnx.load(path)
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info):
        del part.metadata_props[:]  # where in which file of which machine each operator came from
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def main() -> None:
    """Train, export, print the accuracy."""
    parser = argparse.ArgumentParser(description="train a digits classifier and export it to ONNX")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    training, evaluation, calibration = split(given.seed)
    network = make()
    train(network, training)
    export(network, given.out / "digits.onnx")
    for name, (images, labels) in {"evaluation": evaluation, "calibration": calibration}.items():
        arrays: dict[str, Any] = {"image": images, "labels": labels}
        np.savez_compressed(given.out / f"{name}.npz", **arrays)
    print(f"{sum(p.numel() for p in network.parameters()):,} parameters")
    print(f"accuracy on {len(evaluation[1])} held-out images: {accuracy(network, evaluation):.2%}")


if __name__ == "__main__":
    main()
