"""`python -m benchmarks [--quick] [NAME …]`: measure what the project promises, print a table, keep the JSON."""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from benchmarks.result import Result, table, write

NAMES = (
    "startup",
    "overhead",
    "isolation",
    "partial_forward",
    "attribution",
    "synthesis",
    "fast_style",
    "fairness",
    "sharing",
    "batching",
    "cancel",
    "going_on",
    "watchers",
    "memory",
    "faults",
    "image_sets",
    "layouts",
    "plugin_author",
)


def main() -> int:
    """Run the benchmarks named; gives 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all where absent")
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions: tries the benchmark itself")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    found = [_run(name, quick=arguments.quick) for name in arguments.names or NAMES]
    path = write(found)
    print(f"\n{table(found)}\n\n{path}")
    return 0 if all(result.passed for result in found) else 1


def _run(name: str, *, quick: bool) -> Result:
    print(f"{name} …", end=" ", flush=True)
    start = time.monotonic()
    result: Result = importlib.import_module(f"benchmarks.{name}").run(quick=quick)
    print(f"{time.monotonic() - start:.0f} s")
    for detail, value in result.details.items():
        print(f"    {detail}: {value:.4g}")
    return result


if __name__ == "__main__":
    sys.exit(main())
