"""Generate text with a bundle, greedily, or compute a graph's outputs, on the backend that was chosen for it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.bundle import Bundle

EXAMPLE = """examples:
  edgehone run ./bundle --prompt "Once upon a time"
  edgehone run ./bundle --prompt "Once upon a time" --max-tokens 200 --json
  edgehone run ./bundle --image cat.png --prompt "Once upon a time"
  edgehone run ./classifier --input images.npz --output scores.npz
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--prompt", help="the text to go on from")
    asked.add_argument("--input", metavar="NPZ", help="an array for each input of a graph, samples first")
    parser.add_argument(
        "--image", metavar="FILE", help="the picture that the prompt is about (of a model that sees)"
    )
    parser.add_argument("--output", metavar="NPZ", help="where a graph's outputs go (default: outputs.npz)")
    parser.add_argument(
        "--max-tokens", type=int, default=128, help="at most so many new tokens (default: 128)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.bundle import read
    from edgehone.inference.run_bundle import generate

    bundle = read(args.bundle)
    if args.input is not None:
        return _infer(bundle, Path(args.input), Path(args.output or "outputs.npz"), args.json)
    picture = Path(args.image) if args.image else None
    facts = generate(bundle, args.prompt, args.max_tokens, picture=picture, quiet=args.json, tell=_tell)
    if args.json:
        print(json.dumps(facts, indent=1))
    elif facts["decode_tokens_per_s"]:
        print(
            f"[{facts['tokens']} tokens, first after {facts['ttft_s'] * 1000:.0f} ms, "
            f"then {facts['decode_tokens_per_s']:.0f} tokens/s]",
            file=sys.stderr,
        )
    return 0


def _infer(bundle: Bundle, given: Path, output: Path, as_json: bool) -> int:
    from edgehone.inference.run_bundle import infer

    facts = infer(bundle, given, output, tell=_tell)
    if as_json:
        print(json.dumps(facts, indent=1))
        return 0
    told = ", ".join(f"{name} {shape}" for name, shape in facts["outputs"].items())
    each = 1000 * facts["seconds"] / facts["samples"]
    print(f"{output}: {told}\n[{facts['samples']} samples, {each:.3g} ms each]")
    return 0


def _tell(what: str) -> None:
    print(what, file=sys.stderr)
