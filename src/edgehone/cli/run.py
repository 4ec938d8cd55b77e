"""Generate text with a bundle, greedily, on the backend that was chosen for it."""

from __future__ import annotations

import argparse
import json
import sys

EXAMPLE = """examples:
  edgehone run ./bundle --prompt "Once upon a time"
  edgehone run ./bundle --prompt "Once upon a time" --max-tokens 200 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder")
    parser.add_argument("--prompt", required=True, help="the text to go on from")
    parser.add_argument(
        "--max-tokens", type=int, default=128, help="at most so many new tokens (default: 128)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.bundle import read
    from edgehone.bundle.run import generate

    bundle = read(args.bundle)
    facts = generate(bundle, args.prompt, args.max_tokens, quiet=args.json, tell=_tell)
    if args.json:
        print(json.dumps(facts, indent=1))
    elif facts["decode_tokens_per_s"]:
        print(
            f"[{facts['tokens']} tokens, first after {facts['ttft_s'] * 1000:.0f} ms, "
            f"then {facts['decode_tokens_per_s']:.0f} tokens/s]",
            file=sys.stderr,
        )
    return 0


def _tell(what: str) -> None:
    print(what, file=sys.stderr)
