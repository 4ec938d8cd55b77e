"""The loop of the scripts that train a tiny model on drawn batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch


def train(
    model: torch.nn.Module, draw: Callable[[], Mapping[str, Any]], steps: int, rate: float, decay: float = 0.0
) -> float:
    """Train on so many batches with AdamW in one cycle of the learning rate, and return the last loss in nats.

    `draw` returns the arguments of the model's forward pass, labels included. The model is left in evaluation mode.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for _ in range(steps):
        loss = model(**draw()).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    return float(loss.detach())
