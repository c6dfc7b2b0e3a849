"""`make bench`: every benchmark beside what it is compared to, one line per figure.

`python -m tests.bench [NAME ...]` runs those whose module name contains one of the names. Nothing
here decides whether the tests pass.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time

import tests.bench
from tests.bench.figures import report


def main(names: list[str]) -> int:
    """Run and report; 1 if a benchmark itself failed."""
    modules = sorted(
        module.name
        for module in pkgutil.iter_modules(tests.bench.__path__)
        if module.name.startswith("bench_")
    )
    chosen = [name for name in modules if not names or any(part in name for part in names)]
    failed = 0
    for name in chosen:
        started = time.perf_counter()
        print(f"# {name.removeprefix('bench_')}", flush=True)
        try:
            report(importlib.import_module(f"tests.bench.{name}").run())
        except Exception as error:  # one that fails must not hide the others; the exit code says so
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"# {time.perf_counter() - started:.1f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
