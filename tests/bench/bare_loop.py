"""A loop on a terminal that answers every key with the cursor's sign, and does nothing else.

Run by `bench_system` beside the desk: what a key takes here, it takes because of the machine.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tty

from tui import text

CURSOR = text.UNICODE.cursor.encode()


async def main() -> None:
    """Answer until the terminal is closed."""
    ended = asyncio.Event()

    def answer() -> None:
        if os.read(sys.stdin.fileno(), 1_024):
            os.write(sys.stdout.fileno(), CURSOR)
        else:
            ended.set()

    tty.setraw(sys.stdin.fileno())
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), answer)
    os.write(sys.stdout.fileno(), CURSOR)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
