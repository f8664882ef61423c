"""Feed hostile input to everything that reads what others wrote: ``python -m hostile SEED COUNT``.

Prints one JSON object: how many inputs were read, what came out besides our own errors, what was touched, and
by how much memory grew beyond what the process held before the first input.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from atdata_core.common import retry_after
from atdata_core.errors import AtdataError
from hostile import addresses, binary, records
from hostile.binary import Target
from hostile.watch import Watch, forget_peak, peak, resident

SECONDS = 20
"""Seconds that one input may take."""
SHARES = {
    "tars": 26, "msgpack": 18, "arrays": 24, "records": 9, "redis": 8, "texts": 9, "redirects": 3, "shards": 2,
    "documents": 0.5, "sessions": 0.5,
}  # fmt: skip
"""Inputs of a hundred."""


class Enemy:
    """Feeds, and keeps what went wrong."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.read: Counter[str] = Counter()
        self.refused = 0
        self.failures: dict[str, str] = {}
        self.most: dict[str, int] = {}
        self.spent: dict[str, float] = {}

    def feed(self, target: Target, value: Any) -> None:
        """One input."""
        self.read[target.name] += 1
        signal.alarm(SECONDS)
        try:
            with self.watch.on():
                target.act(value)
        except AtdataError as error:
            self.refused += 1
            str(error)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in where if "atdata_core" in frame.filename] or where
            key = (
                f"{target.name}: {type(error).__name__} at {os.path.basename(ours[-1].filename)}:{ours[-1].lineno}"
            )
            self.failures.setdefault(key, f"{str(error)[:200]} | {_shown(value)}")
        finally:
            signal.alarm(0)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:300]
    except (ValueError, RecursionError):
        return type(value).__name__


def _too_long(*_: object) -> None:
    raise TimeoutError(f"an input took more than {SECONDS} seconds")


def main(number: int, count: int) -> dict[str, Any]:
    """Read ``count`` inputs made from the seed ``number``."""
    logging.disable()
    warnings.simplefilter("ignore")
    watch = Watch()
    trap = addresses.Trap()
    host, port = trap.place
    os.environ["ATDATA_ALLOW_PRIVATE"] = f"{host}:{port}"
    os.environ["ATDATA_PLC_URL"] = f"http://{host}:{port}"
    watch.allowed = {trap.place}
    watch.readable = ("/dev/null", os.devnull, "/etc/ssl", "/usr/lib/ssl", "/proc/self/", "/etc/mime.types", "<")
    # A service that asks for patience gets none here.
    passed = [0.0]
    retry_after.ours = retry_after.RetryAfter(
        lambda: passed[0], lambda seconds: passed.append(passed.pop() + seconds)
    )
    enemy = Enemy(watch)
    near = addresses.targets(trap, watch.turn_back)

    def run(amount: int, rng: Random) -> None:
        for target in (*binary.TARGETS, *near):
            watch_peak(target, lambda: [enemy.feed(target, target.make(rng)) for _ in range(_part(target))])  # noqa: B023
        for target in (records.RECORDS, records.STORED):

            @seed(number)
            @settings(
                max_examples=_part(target),
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(junk=records.JUNK, choice=st.integers(0, 2**64))
            def fuzz(junk: Any, choice: int) -> None:
                enemy.feed(target, target.make(Random(choice), junk))  # type: ignore[call-arg]  # noqa: B023

            watch_peak(target, fuzz)

    def watch_peak(target: Target, act: Any) -> None:
        forget_peak()
        begun = time.process_time()
        act()
        enemy.spent[target.name] = enemy.spent.get(target.name, 0) + time.process_time() - begun
        enemy.most[target.name] = max(enemy.most.get(target.name, 0), peak() - idle)

    def _part(target: Target) -> int:
        return max(1, round(amount * SHARES[target.name] / 100))

    addresses.use_once(trap)
    idle = resident()
    # Modules that are loaded at their first use are no harm that an input does.
    amount = 200
    run(amount, Random(0))
    enemy = Enemy(watch)
    watch.touched.clear()
    amount = count
    run(amount, Random(number))
    return {
        "inputs": sum(enemy.read.values()),
        "read": enemy.read,
        "refused": enemy.refused,
        "failures": enemy.failures,
        "touched": watch.touched,
        "hits": trap.hits,
        "grown": max(enemy.most.values()),
        "most": enemy.most,
        "idle": idle,
        "spent": enemy.spent,
    }


if __name__ == "__main__":
    faulthandler.enable()
    signal.signal(signal.SIGALRM, _too_long)
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
