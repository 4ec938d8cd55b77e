"""The story, step by step. It ends by printing the page to open."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from edgehone.core.errors import EdgehoneError, InputError
from examples.demo_all.drift import Drifted, drift
from examples.demo_all.page import write_page
from examples.demo_all.place import Place, prepared
from examples.demo_all.production import production
from examples.demo_all.release import release
from examples.demo_all.version_1 import version_1


def main() -> int:
    """Run the story. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo_all", description=__doc__)
    parser.add_argument(
        "--out", default="demo-all", help="folder of the run, emptied first (default: demo-all)"
    )
    words = parser.parse_args()
    try:
        place = prepared(Path(words.out))
        drifted = asyncio.run(_story(place))
    except EdgehoneError as error:
        print(
            f"error: {error.message}",
            *([f"next: {error.hint}"] if error.hint else []),
            sep="\n",
            file=sys.stderr,
        )
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except asyncio.CancelledError:  # SIGTERM: what was started has been ended
        return 128 + signal.SIGTERM
    place.tell(f"Done. Open {write_page(place, drifted)}")
    return 0


async def _story(place: Place) -> Drifted:
    story = asyncio.current_task()
    assert story is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, story.cancel)
    await version_1(place)
    async with production(place) as live:
        await release(place, live)
        return await drift(place, live)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error.message}")
