"""``python -m benchmarks [--quick] [--only NAME ...] [--write FILE] [--list]``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.frame import Bench, Result, Row
from benchmarks.table import Surroundings, costs, table, write


def rows() -> list[Row]:
    """Every row, in the order of the table."""
    from benchmarks import (
        bounds,
        copying,
        far,
        growing,
        importing,
        loading,
        lookups,
        publishing,
        reading,
        streaming,
        writing,
    )

    # A DataLoader forks this process: before services and their clients are there.
    modules = (reading, loading, streaming, writing, copying, bounds, lookups, publishing, far, growing, importing)
    return [row for module in modules for row in module.ROWS]


def chosen(every: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """The rows of these names: a row's own or its module's."""
    return [row for row in every if not names or {row.name, row.name.partition(".")[0]} & set(names)]


def measure(wanted: Sequence[Row], bench: Bench) -> list[Result]:
    """Run rows one after the other, and say on stderr how that goes."""
    results: list[Result] = []
    for number, row in enumerate(wanted, 1):
        print(f"[{number}/{len(wanted)}] {row.name}", end=" ", file=sys.stderr, flush=True)
        start = time.monotonic()
        result = row.run(bench)
        said = result.error or ("reached" if result.reached else "not reached")
        print(f"{said} ({time.monotonic() - start:.1f} s)", file=sys.stderr, flush=True)
        results.append(result)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table; 1 where a row could not be measured."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="How fast it is, beside its peers.")
    parser.add_argument("--quick", action="store_true", help="small data, few repeats: does it run at all?")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="rows, or modules of rows")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page, of a full run alone")
    parser.add_argument("--list", action="store_true", help="print the names of all rows")
    given = parser.parse_args(arguments)
    every = rows()
    if given.list:
        print("\n".join(row.name for row in every))
        return 0
    if given.write and (given.quick or given.only):
        parser.error("--write keeps a full run: neither --quick nor --only.")
    wanted = chosen(every, given.only)
    if not wanted:
        parser.error("no such row; --list names them.")
    if given.quick:
        print("Small data and few repeats: these figures say little.", file=sys.stderr)
    # Who ends it politely finds services stopped and the folder gone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Before anything runs: a revision that is not committed is no revision.
    surroundings = Surroundings.here()
    with tempfile.TemporaryDirectory(prefix="atdata-bench-") as folder:
        # A user's own sessions, and what their account has written, are none of this.
        os.environ["ATDATA_STATE_DIR"] = f"{folder}/state"
        bench = Bench(Path(folder), quick=given.quick)
        try:
            results = measure(wanted, bench)
        finally:
            bench.close()
    print("\n\n".join(part for part in (table(results), costs(results)) if part))
    if given.write:
        write(given.write, results, surroundings)
    return int(any(row.spoils(result) for row, result in zip(wanted, results, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
