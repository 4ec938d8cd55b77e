"""Run a bundle: answer a prompt, transcribe a sound, or compute the outputs of a graph.

The bundle's backend and runtime settings are used. A prompt is put into the model's chat template, if it has one, and
tokens are drawn as its generation_config.json says; --raw continues the plain text, greedily by default.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgehone.cli.sampling_options import add_sampling_options, sampling_options

if TYPE_CHECKING:
    from edgehone.bundle import Bundle

EXAMPLE = """examples:
  edgehone run ./bundle --prompt "Once upon a time"
  edgehone run ./bundle --prompt "Once upon a time" --max-tokens 200 --json
  edgehone run ./bundle --raw --prompt "Once upon a time"
  edgehone run ./bundle --prompt "Once upon a time" --temperature 0.7 --seed 1
  edgehone run ./bundle --image cat.png --prompt "Once upon a time"
  edgehone run ./whisper --audio speech.wav
  edgehone run ./classifier --input arrays.npz --output scores.npz
  edgehone run ./classifier --input ./photos --output scores.npz
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle")
    inputs = parser.add_mutually_exclusive_group(required=True)
    inputs.add_argument(
        "--prompt", metavar="TEXT", help="what to answer or, without a chat template, to continue"
    )
    inputs.add_argument(
        "--audio", metavar="FILE", help="for models that recognize speech: the WAV file to transcribe"
    )
    inputs.add_argument(
        "--input",
        metavar="SAMPLES",
        help="for a graph: an npz with an array for each input, in the layout of its inputs; or an image or WAV file, "
        "or a folder of them, if the bundle was evaluated on such",
    )
    parser.add_argument(
        "--image", metavar="FILE", help="for vision-language models: the picture that the prompt refers to"
    )
    parser.add_argument(
        "--output", metavar="NPZ", help="for a graph: file of the outputs (default: outputs.npz)"
    )
    parser.add_argument(
        "--max-tokens",
        type=int,
        default=128,
        metavar="N",
        help="largest number of generated tokens (default: 128)",
    )
    parser.add_argument(
        "--raw", action="store_true", help="continue the plain text: no chat template, the likeliest tokens"
    )
    add_sampling_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.bundle import read
    from edgehone.inference import texts
    from edgehone.inference.run_bundle import generate

    bundle = read(args.bundle)
    if args.input is not None:
        return _infer(bundle, Path(args.input), Path(args.output or "outputs.npz"), args.json)
    if args.audio is not None or texts.generates(bundle):
        return _generate_text(bundle, args)
    picture = Path(args.image) if args.image else None
    facts = generate(
        bundle,
        args.prompt,
        args.max_tokens,
        picture=picture,
        raw=args.raw,
        sampling=sampling_options(args),
        quiet=args.json,
        on_progress=_print_progress,
    )
    if args.json:
        print(json.dumps(facts, indent=1))
        return 0
    if facts["context_limited"] and not facts["ended"]:
        print("[stopped at the end of the model's context]", file=sys.stderr)
    if facts["decode_tokens_per_s"]:
        whose = "" if facts["tokenizer"] == "original" else ", tokenized by the runtime"
        print(
            f"[{facts['tokens']} tokens, first after {facts['ttft_s'] * 1000:.0f} ms, "
            f"then {facts['decode_tokens_per_s']:.0f} tokens/s{whose}]",
            file=sys.stderr,
        )
    return 0


def _generate_text(bundle: Bundle, args: argparse.Namespace) -> int:
    from edgehone.core.errors import InputError
    from edgehone.inference import texts

    if args.image or args.output or sampling_options(args).given:
        raise InputError(
            f"{bundle.path} generates a text from a sound or a text, greedily",
            hint="leave out --image, --output and the options of sampling",
        )
    options = {"quiet": args.json, "on_progress": _print_progress}
    if args.audio is not None:
        facts = texts.transcribe(bundle, Path(args.audio), args.max_tokens, **options)
    else:
        facts = texts.answer(bundle, args.prompt, args.max_tokens, **options)
    if args.json:
        print(json.dumps(facts, indent=1))
    elif facts["ttft_s"] is not None:
        first, whole = (1000 * facts[name] for name in ("ttft_s", "seconds"))
        print(f"[{facts['tokens']} tokens in {whole:.0f} ms, first after {first:.0f} ms]", file=sys.stderr)
    return 0


def _infer(bundle: Bundle, samples: Path, output: Path, as_json: bool) -> int:
    from edgehone.inference.run_bundle import infer

    facts = infer(bundle, samples, output, on_progress=_print_progress)
    if as_json:
        print(json.dumps(facts, indent=1))
        return 0
    shapes = ", ".join(f"{name} {shape}" for name, shape in facts["outputs"].items())
    each = 1000 * facts["seconds"] / facts["samples"]
    print(f"{output}: {shapes}\n[{facts['samples']} samples, {each:.3g} ms each]")
    return 0


def _print_progress(detail: str) -> None:
    print(detail, file=sys.stderr)
