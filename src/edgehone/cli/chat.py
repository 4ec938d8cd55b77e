"""Hold a conversation with a bundle's model, in its chat template and with its own sampling, or with a server's.

In a terminal, type a message and Enter; /clear forgets the conversation, /exit or Ctrl-D ends it. Without a terminal,
each line of standard input is a message, and each answer is printed on lines of its own. A URL is that of a server
which speaks the OpenAI API, such as `edgehone serve`; its key is read from EDGEHONE_API_KEY.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgehone.cli.sampling_options import add_sampling_options, sampling_options

if TYPE_CHECKING:
    from edgehone.inference.converse import Conversation
    from edgehone.inference.remote import RemoteConversation

EXAMPLE = """examples:
  edgehone chat ./bundle
  edgehone chat ./bundle --system "Answer in one sentence." --temperature 0.7
  edgehone chat http://127.0.0.1:8080
  echo "What is a fjord?" | edgehone chat ./bundle --json
"""


_COMMANDS = "/clear forgets the conversation, /exit or Ctrl-D ends it"
_COMMAND = re.compile(r"/[a-z]+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "bundle",
        metavar="BUNDLE|URL",
        help="folder of a bundle with a language model, or the URL of a server",
    )
    parser.add_argument("--model", metavar="NAME", help="which model of the server, if it has several")
    parser.add_argument("--system", metavar="TEXT", help="the system's message, before the conversation")
    parser.add_argument(
        "--max-tokens",
        type=int,
        default=512,
        metavar="N",
        help="largest number of tokens of an answer (default: 512)",
    )
    add_sampling_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.core.errors import InputError

    typed = sys.stdin.isatty() and not args.json
    with _conversation(args) as conversation:
        if typed:
            print(_COMMANDS, file=sys.stderr)
        for message in _messages(typed):
            if message == "/exit":
                break
            if message == "/clear":
                conversation.clear()
                continue
            if typed and _COMMAND.fullmatch(message):
                print(f"there is no command {message}: {_COMMANDS}", file=sys.stderr)
                continue
            try:
                _answer(conversation, message, args.json)
            except InputError as error:
                if not typed:
                    raise
                print(
                    f"{error.message}\n{error.hint or ''} (/clear forgets the conversation)", file=sys.stderr
                )
    return 0


@contextmanager
def _conversation(args: argparse.Namespace) -> Iterator[Conversation | RemoteConversation]:
    from edgehone.bundle import read
    from edgehone.core.errors import InputError
    from edgehone.inference.converse import converse
    from edgehone.inference.remote import RemoteConversation

    sampling = sampling_options(args)
    if args.bundle.startswith(("http://", "https://")):
        yield RemoteConversation(
            args.bundle, args.max_tokens, sampling=sampling, system=args.system, model=args.model
        )
        return
    if args.model:
        raise InputError("--model names a model of a server", hint=f"edgehone chat {args.bundle}")
    bundle = read(args.bundle)
    with converse(
        bundle,
        args.max_tokens,
        sampling=sampling,
        system=args.system,
        on_progress=lambda detail: print(detail, file=sys.stderr),
    ) as conversation:
        yield conversation


def _answer(conversation: Conversation | RemoteConversation, message: str, as_json: bool) -> None:
    def write(piece: str) -> None:
        if not as_json:
            print(piece, end="", flush=True)

    facts = conversation.say(message, write)
    print(json.dumps({**facts, "sampling": conversation.sampling}) if as_json else "", flush=True)


def _messages(typed: bool) -> Iterator[str]:
    """Yield the messages: lines that are not empty, typed after a prompt or read from standard input."""
    if typed:
        import readline  # noqa: F401 - input() then offers editing and history
    while True:
        try:
            line = input("> ") if typed else sys.stdin.readline()
        except EOFError:
            print()
            return
        if not typed and not line:
            return
        if message := line.strip():
            yield message
