"""The options of `run` and `chat` on how tokens are drawn."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.inference.sampling import SamplingOptions


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """Add the options. Their defaults are those of the model's generation_config.json."""
    group = parser.add_argument_group("sampling (default: as the model's generation_config.json says)")
    group.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token")
    group.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help="draw from the likeliest tokens that together have this share",
    )
    group.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens; 0: from all")
    group.add_argument(
        "--repetition-penalty", type=float, metavar="R", help="above 1: tokens that occurred are less likely"
    )
    group.add_argument(
        "--seed", type=int, metavar="N", help="the same seed draws the same tokens (default: a new one)"
    )


def sampling_options(args: argparse.Namespace) -> SamplingOptions:
    """Return the options of a parsed command line."""
    from edgehone.inference.sampling import SamplingOptions

    return SamplingOptions(args.temperature, args.top_p, args.top_k, args.repetition_penalty, args.seed)
