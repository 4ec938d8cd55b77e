"""Optimize a model for an edge device, and prove the result.

Start with: edgehone optimize MODEL
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from edgehone.cli import verbs
from edgehone.core.errors import EdgehoneError, InputError, JobError

_INTERRUPTED = "interrupted; run the same command again to continue"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb.

    Returns the exit code: 0 success, 1 failure, 2 unusable input or set-up, 3 no candidate passes,
    4 the machine was too busy to tell, 5 a stage waits for approval, 130 interrupted.
    """
    try:
        with _two_interrupts():
            return _run(list(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:
        # The reader of standard output has closed it (`| head`), which is not an error. Redirect the buffered rest to
        # the null device, or the interpreter would report an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


@contextmanager
def _two_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first Ctrl-C, and end the process at the second, whatever it is doing.

    After the first one, threads may still wait for what they cannot be interrupted in. Nothing is lost by not waiting
    for them: the children of jobs end with this process, and a job that has not finished is run again.
    """

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, second)
        raise KeyboardInterrupt

    def second(number: int, frame: FrameType | None) -> None:
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # the live table hides it
        os.write(2, f"{show_cursor}\n{_INTERRUPTED}\n".encode())
        os._exit(130)

    # Not where Ctrl-C is ignored, as in the background of a shell, and not in a thread, which gets no signals.
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handled and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        # After the first Ctrl-C the second may still come while the interpreter waits for threads at its end.
        if signal.getsignal(signal.SIGINT) is first:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout.flush()


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
    except (OSError, RuntimeError) as error:
        refused = _of_a_path(error)
        if refused is None:
            raise
        _print_error(refused, as_json="--json" in words)
        return refused.exit_code
    except KeyboardInterrupt:
        print(f"\n{_INTERRUPTED}", file=sys.stderr)
        return 130


def _of_a_path(error: OSError | RuntimeError) -> InputError | None:
    """Return the error for a path that may not be opened, or whose links lead in a circle; None for other errors."""
    # Before Python 3.13, Path.resolve raises RuntimeError for a circle, while it handles the system's error.
    cause = error if isinstance(error, OSError) else error.__context__
    if not isinstance(cause, OSError) or cause.errno not in (errno.EACCES, errno.EPERM, errno.ELOOP):
        return None
    return InputError(f"{cause.filename} cannot be opened: {cause.strerror}", hint=f"ls -ld {cause.filename}")


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
