"""``python -m scaling [--quick] [--only PART ...] [--write FILE]``, or ``--rewrite FILE``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.frame import Bench
from benchmarks.table import Surroundings
from scaling.figures import Found, Part
from scaling.page import rewrite, table, write


def parts() -> list[Part]:
    """Every part, in the order of the table."""
    from scaling import backfill, bulk, marking, registering, running

    return [*registering.PARTS, *running.PARTS, *marking.PARTS, *bulk.PARTS, *backfill.PARTS]


def found_by(part: Part, bench: Bench) -> Found:
    """Measure a part; what goes wrong becomes a part of the result."""
    begun = time.monotonic()
    try:
        figures, notes = part.measure(bench)
    except Exception as why:
        return Found(part.name, seconds=time.monotonic() - begun, error=f"{type(why).__name__}: {why}")
    return Found(part.name, tuple(figures), tuple(notes), time.monotonic() - begun)


def measure(wanted: Sequence[Part], bench: Bench) -> list[Found]:
    """Run parts one after the other, and say on stderr how that goes."""
    found: list[Found] = []
    for number, part in enumerate(wanted, 1):
        print(f"[{number}/{len(wanted)}] {part.name}", end=" ", file=sys.stderr, flush=True)
        each = found_by(part, bench)
        print(f"{each.error or 'measured'} ({each.seconds:.1f} s)", file=sys.stderr, flush=True)
        found.append(each)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table; 1 where a part could not be measured."""
    every = parts()
    parser = argparse.ArgumentParser("python -m scaling", description="What very many datasets cost in Dagster.")
    parser.add_argument("--quick", action="store_true", help="few datasets, in a minute: does it run at all?")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", choices=[part.name for part in every])
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page, of a full run alone")
    parser.add_argument("--rewrite", type=Path, metavar="FILE", help="measure nothing, write the page anew")
    given = parser.parse_args(arguments)
    if given.rewrite:
        rewrite(given.rewrite)
        return 0
    if given.write and (given.quick or given.only):
        parser.error("--write keeps a full run: neither --quick nor --only.")
    wanted = [part for part in every if not given.only or part.name in given.only]
    if given.quick:
        print("Few datasets: these figures say little.", file=sys.stderr)
    # Who ends it politely finds services stopped and the folder gone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Before anything runs: a revision that is not committed is no revision.
    surroundings = Surroundings.here()
    with tempfile.TemporaryDirectory(prefix="atdata-scale-") as folder:
        _put_aside_settings()
        # A user's own sessions, and what their account has written, are none of this.
        os.environ["ATDATA_STATE_DIR"] = f"{folder}/state"
        bench = Bench(Path(folder), quick=given.quick)
        try:
            found = measure(wanted, bench)
        finally:
            bench.close()
    print(table(found))
    if given.write:
        write(given.write, found, surroundings)
    return int(any(each.error for each in found))


def _put_aside_settings() -> None:
    """Those of the shell may name the real network, or a store for copies."""
    for name in [name for name in os.environ if name.startswith(("ATDATA_", "AWS_", "DAGSTER_"))]:
        del os.environ[name]


if __name__ == "__main__":
    sys.exit(main())
