"""Shards from one S3 server to another: how much memory that takes, and what is sent twice."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis

from atdata_core.local import LocalIndex
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import MemoryLedger
from benchmarks.apart import Died, apart, peak_over_idle
from benchmarks.copying import lab_of
from benchmarks.frame import Bench, Count, Measured, Reach, expect, row
from benchmarks.labs import MIB, Lab, empty_lab, random_lab, store_in


def _peak(lab: Lab, s3: dict[str, str], bucket: str) -> float:
    # A part of idle, which the clients that it makes are not.
    importlib.import_module("boto3")
    return peak_over_idle(lambda: lab.copied_into(store_in(s3, bucket), MemoryLedger()))


@row("copy across endpoints: memory over idle", peer="", reach=Reach(most=150, unit="MB"))
def memory(bench: Bench) -> Measured:
    """The peak of a process that copies, over what it takes with all modules imported."""
    services, counts = bench.services, []
    labs = {
        bench.size("64 x 8 MiB", "8 x 1 MiB"): lab_of(bench),
        # As many at a time as there are workers, each in parts.
        bench.size("8 x 128 MiB", "8 x 24 MiB"): _zeros(bench, 8, bench.size(128, 24)),
    }
    if not bench.quick:
        labs["2 x 2 GiB"] = _zeros(bench, 2, 2048)
    for title, lab in labs.items():
        bucket = services.new_bucket(services.other_box)
        counts.append(Count(title, apart(_peak, lab, services.other_box.s3, bucket)))
        services.remove_bucket(services.other_box, bucket)
    return Measured(counts=tuple(counts))


def _zeros(bench: Bench, count: int, mib: int) -> Lab:
    return empty_lab(bench.services, bench.folder, count, mib * MIB)


def _copy(lab: Lab, s3: dict[str, str], bucket: str, prefix: str, log: Path, last: int | None) -> None:
    """Copy with the ledger in Redis; note each part that arrived, and die when so many did."""
    from botocore.httpsession import URLLib3Session

    send = URLLib3Session.send

    def noted(self: Any, request: Any) -> Any:
        number = parse_qs(urlsplit(request.url).query).get("partNumber")
        if request.method != "PUT" or number is None:
            return send(self, request)
        if last is not None and len(_lines(log)) >= last:
            os._exit(1)
        answer = send(self, request)
        if answer.status_code == 200:
            with log.open("a") as file:
                file.write(f"{number[0]}\n")
        return answer

    URLLib3Session.send = noted
    store = store_in(s3, bucket)
    store.prefix = prefix
    with redis.Redis.from_url(lab.redis_url) as client:
        lab.copied_into(store, state_of(LocalIndex(client)).ledger)


def _lines(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


@row(
    "copy across endpoints, killed in the middle and run again",
    peer="",
    reach=Reach(most=0, unit="parts sent twice"),
)
def parts_twice(bench: Bench) -> Measured:
    """One shard in parts; the process that copies it is killed when some of them have arrived."""
    services, size = bench.services, bench.size(128, 48)
    lab, log = random_lab(services, 1, size * MIB), bench.folder / "parts.log"
    other = services.other_box
    bucket = services.new_bucket(other)
    try:
        apart(_copy, lab, other.s3, bucket, "killed", log, 3)
    except Died:
        pass
    else:
        raise ValueError("the shard was copied in fewer than four parts")
    expect(len(_lines(log)) >= 3, True, "parts before the kill")
    apart(_copy, lab, other.s3, bucket, "killed", log, None)
    sent = Counter(_lines(log))
    return Measured(counts=(Count(f"{size} MiB in {len(sent)} parts", sum(sent.values()) - len(sent)),))


ROWS = (memory, parts_twice)
