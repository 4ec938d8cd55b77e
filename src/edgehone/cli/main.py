"""edgehone hones a model for an edge device, and proves it."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from edgehone.core.errors import EdgehoneError, InputError, JobError

# Verb -> one line of help. The module edgehone.cli.VERB holds the rest, and is imported for its own verb only.
VERBS = {
    "optimize": "hone a model for a device, prove it, and write a bundle",
    "run": "generate text with a bundle",
    "show": "print a bundle's decision and figures",
    "report": "write a bundle's report, or compare several; raw samples too",
    "explain": "tell how the choice came about, and why the others lost",
    "choose": "choose again from a bundle's figures by other weights",
    "history": "show every trial of every search",
    "profile": "watch a bundle at work, and name what limits it",
    "diagnose": "tell what is wrong with a bundle, a model or a log",
    "compare": "put bundles or artifacts side by side",
    "recommend": "tell what deserves a try, and what to expect",
    "inspect": "tell what a model is and which backends can take it",
    "device": "tell what this machine is, as far as inference cares",
    "worker": "serve a Dask cluster with this machine",
    "backends": "list, install, check or prove the toolchains",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb. Exit codes: 0 done, 1 failed, 2 wrong input or set-up, 3 nothing passes, 130 interrupted."""
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output left (`| head`): not an error. What is still buffered goes nowhere, or the
        # interpreter would complain of it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(words: Sequence[str]) -> int:
    try:
        args = _parser(words).parse_args(words)
        if args.verb is None:
            _parser([]).print_help()
            return 2
        code: int = importlib.import_module(f"edgehone.cli.{args.verb}").run(args)
    except EdgehoneError as error:
        _complain(error, as_json="--json" in words)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on where it was", file=sys.stderr)
        return 130
    return code


class _Parser(argparse.ArgumentParser):
    """A parser that complains as all of edgehone does: error, then what to type next."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError."""
        raise InputError(message, hint=f"{self.prog} --help")


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the verb in `words` (all of them for none) has its module imported."""
    parser = _Parser(prog="edgehone", description=__doc__)
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for verb, line in VERBS.items():
        if verb in words:
            module = importlib.import_module(f"edgehone.cli.{verb}")
            sub = verbs.add_parser(
                verb,
                help=line,
                description=module.__doc__,
                epilog=module.EXAMPLE,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            module.add_arguments(sub)
        else:
            sub = verbs.add_parser(verb, help=line)
        sub.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked for it."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and leave."""
        from importlib.metadata import version

        print(f"edgehone {version('edgehone')}")
        parser.exit()


def _complain(error: EdgehoneError, *, as_json: bool) -> None:
    """What happened, where the log is, what to do next: on standard error, or as JSON on standard output."""
    log = str(error.log) if isinstance(error, JobError) and error.log else None
    if as_json:
        told = {"error": error.message, "hint": error.hint, "log": log, "exit_code": error.exit_code}
        print(json.dumps(told, indent=1))
        return
    print(f"error: {error.message}", file=sys.stderr)
    if log:
        print(f"log:   {log}", file=sys.stderr)
    if error.hint:
        print(f"next:  {error.hint}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
