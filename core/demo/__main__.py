"""`python -m core.demo`: the simulated servers alone (see `process`), for the demo and for
whoever wants to point another client at them."""

from __future__ import annotations

import argparse
import asyncio
import time

from core.demo.process import serve


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m core.demo",
        description="Serve a simulated fleet's chains on loopback until standard input closes.",
    )
    parser.add_argument("--seed", type=int, default=1, help="which world (default 1)")
    parser.add_argument("--agents", type=int, default=200, help="size of the fleet (default 200)")
    parser.add_argument(
        "--start-ms", type=int, default=None, help="when incidents begin, ms since the epoch"
    )
    parser.add_argument("--minutes", type=float, default=None, help="end after so long")
    options = parser.parse_args()
    if options.agents < 1:
        parser.error("--agents must be 1 or more")
    start_ms = time.time_ns() // 1_000_000 if options.start_ms is None else options.start_ms
    seconds = None if options.minutes is None else options.minutes * 60
    asyncio.run(serve(options.seed, options.agents, start_ms, seconds))


if __name__ == "__main__":
    main()
