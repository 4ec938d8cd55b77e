"""Optimize a model for an edge device, and prove the result.

Start with: edgehone optimize MODEL
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from edgehone.cli import verbs
from edgehone.core.errors import EdgehoneError, InputError, JobError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb.

    Returns the exit code: 0 success, 1 failure, 2 unusable input or set-up, 3 no candidate passes,
    4 the machine was too busy to tell, 130 interrupted.
    """
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of standard output has closed it (`| head`), which is not an error. Redirect the buffered rest to
        # the null device, or the interpreter would report an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(words: Sequence[str]) -> int:
    try:
        args = _parser(words).parse_args(words)
        if args.verb is None:
            _parser([]).print_help()
            return 2
        return verbs.load(args.verb).run(args)
    except EdgehoneError as error:
        _print_error(error, as_json="--json" in words)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to continue", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors like the rest of edgehone: the error, then the next command."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError."""
        raise InputError(message, hint=f"{self.prog} --help")


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser. Only the module of the verb in `words` is imported; without one, the verbs get summaries."""
    parser = _Parser(
        prog="edgehone", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name in verbs.registered():
        if name == chosen:
            module = verbs.load(name)
            verb = subparsers.add_parser(
                name,
                description=module.__doc__,
                epilog=module.EXAMPLE,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            module.add_arguments(verb)
        else:
            summary = verbs.summary(name) if chosen is None else ""
            verb = subparsers.add_parser(name, help=summary.replace("%", "%%"))
        verb.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


class _Version(argparse.Action):
    """Look up the version only when --version is given."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version and exit."""
        from importlib.metadata import version

        print(f"edgehone {version('edgehone')}")
        parser.exit()


def _print_error(error: EdgehoneError, *, as_json: bool) -> None:
    """Print the error, the path of the log and the next command to standard error, or as JSON to standard output."""
    log = str(error.log) if isinstance(error, JobError) and error.log else None
    if as_json:
        fields = {"error": error.message, "hint": error.hint, "log": log, "exit_code": error.exit_code}
        print(json.dumps(fields, indent=1))
        return
    print(f"error: {error.message}", file=sys.stderr)
    if log:
        print(f"log:   {log}", file=sys.stderr)
    if error.hint:
        print(f"next:  {error.hint}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
