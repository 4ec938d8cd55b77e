"""Measure `edgehone serve` beside its engine alone, in one run.

    python -m benchmarks.serving.run [BUNDLE…] [--seconds 60] [--rounds 5] [--write]

For each bundle of a language model:
- throughput at 1, 4 and 16 clients, of short requests and of some as long as in a chat, in alternating rounds, and its
  ratio to that of the engine alone: llama.cpp's own llama-server is asked on its socket, the other engines in their own
  process;
- with llama.cpp, what the server adds to the first token of a request (median of pairs);
- the memory of the server's processes without the engine, and the time from the start until it is ready.
For the first of these also: the 99th percentile of the latency at 0.8 and at 2 times its capacity, sent on a fixed
schedule, how soon the others are refused, and how fast /healthz answers during prefills.
For each bundle of a graph: what the server adds to a request, in alternating rounds.
--write puts the tables into docs/serving.md.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import edgehone
from benchmarks.serving.bundles import demo_bundles
from benchmarks.serving.capacity import past_capacity
from benchmarks.serving.graph import graphs
from benchmarks.serving.overhead import ROUNDS, beside_the_engine

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
START, END = "<!-- tables of bench-serving -->\n", "<!-- end of the tables -->\n"


def main(words: Sequence[str]) -> int:
    """Run the benchmark. Return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "bundles", nargs="*", type=Path, help="bundles of language models and of graphs (default: the demo's)"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a load (default: 60)")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"rounds of throughput (default: {ROUNDS})"
    )
    parser.add_argument("--write", action="store_true", help="write the tables into docs/serving.md")
    given = parser.parse_args(words)
    tables, problems = asyncio.run(_measure(given.bundles or demo_bundles(), given.seconds, given.rounds))
    print(tables)
    if given.write:
        before, rest = PAGE.read_text("utf-8").split(START)
        PAGE.write_text(before + START + tables + END + rest.split(END, 1)[1], "utf-8")
    for problem in problems:
        print(f"missed: {problem}")
    return 1 if problems else 0


async def _measure(bundles: Sequence[Path], seconds: float, rounds: int) -> tuple[str, list[str]]:
    language = [path for path in bundles if edgehone.read(path).manifest.kind == "language"]
    rest = [path for path in bundles if path not in language]
    found = []
    if rest:
        found.append(await graphs(rest))
    if language:
        found += [await beside_the_engine(language, rounds), await past_capacity(language[0], seconds)]
    return "\n".join(table for table, _ in found), [problem for _, own in found for problem in own]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
