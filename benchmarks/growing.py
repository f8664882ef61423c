"""What a promotion costs as the work grows: more datasets, and more shards of one."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import redis

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.common.cid import entry_cid
from atdata_core.local import LocalIndex
from atdata_core.local.entry import LocalDatasetEntry
from atdata_core.promote import promote_many, promote_to_atmosphere
from benchmarks import counting
from benchmarks.apart import apart, peak_over_idle
from benchmarks.entries import register
from benchmarks.frame import Bench, Cost, Count, Measured, Reach, expect, row, timed
from benchmarks.places import shards
from benchmarks.samples import Picture
from benchmarks.services import Account, Pds

DATASETS = (1, 10, 100, 1_000, 10_000)
SHARDS = (1, 10, 100, 1_000, 4_800)
"""The last is about what fits into a record, at addresses of 80 characters."""
_OFFICIAL = 2_000
"""Datasets on the official PDS: it takes as long for each of more, and this is to end soon."""
_QUICK = (1, 60)
LINEAR = 1.5
"""So many times what a shard costs among fewer, at most."""

_DATABASE = 13
_NEAR = (
    "all services near, the PDS is the sandbox's; each size in a fresh process with an account and an index of its "
    "own, so the schema's record, the first connections and the greetings on them are part of it. Memory is the "
    "peak of that process over what it takes with all modules imported"
)

Promotion = Callable[[LocalIndex, AtmosphereClient], None]
"""Promotes all that is in an index."""


def _in_bulk(index: LocalIndex, client: AtmosphereClient) -> None:
    outcomes = promote_many(index.list_datasets(), index, client)
    expect([outcome.error for outcome in outcomes if outcome.error], [], "refused")
    expect({outcome.change for outcome in outcomes}, {"created"}, "what became of records")


def _one(index: LocalIndex, client: AtmosphereClient) -> None:
    [entry] = index.list_datasets()
    promote_to_atmosphere(entry, index, client)


def _cost(promotion: Promotion, size: int, redis_url: str, pds: Pds, account: Account) -> Cost:
    """Promote what is in an index, in a process that has done nothing else."""
    # A part of idle, which the clients that it makes are not.
    importlib.import_module("boto3")
    with redis.Redis.from_url(redis_url) as connected, warnings.catch_warnings():
        # That not everybody reads these shards is known.
        warnings.simplefilter("ignore")
        index, client = LocalIndex(connected), pds.login(account)
        with (
            counting.requests() as requests,
            counting.round_trips() as trips,
            counting.traffic() as traffic,
            timed() as taken,
        ):
            memory = peak_over_idle(lambda: promotion(index, client))
    to_pds = requests.pop(urlsplit(pds.url).netloc)
    return Cost(size, to_pds, requests.total(), trips.total, traffic.sent, traffic.received, *taken, memory)


def _costs(
    bench: Bench, promotion: Promotion, sizes: Sequence[int], datasets: Callable[[int], Any], pds: Pds | None = None
) -> list[Cost]:
    """``datasets`` gives the URLs of each dataset of a size; ``pds`` is the sandbox's by default."""
    services, costs = bench.services, list[Cost]()
    redis_url = f"{services.box.redis_url.rpartition('/')[0]}/{_DATABASE}"
    for size in sizes:
        index = services.new_index(_DATABASE)
        ref = index.publish_schema(Picture)
        entries = [
            LocalDatasetEntry(f"dataset-{number:06d}", ref, urls, cid=entry_cid(ref, urls))
            for number, urls in enumerate(datasets(size))
        ]
        register(index, entries)
        pds = pds or services.sandbox_pds
        costs.append(apart(_cost, promotion, size, redis_url, pds, pds.account()))
    return costs


def _urls(bench: Bench) -> list[str]:
    """Of small shards, as many as the largest size needs."""
    return bench.once("very many shards", lambda: shards(bench.services, _sizes(bench)[-1], 500).urls)


def _sizes(bench: Bench) -> tuple[int, ...]:
    return bench.size(DATASETS, _QUICK)


@row("datasets of one small shard in bulk, their URLs kept", peer="", reach=Reach(most=10, unit="ms each"))
def datasets(bench: Bench) -> Measured:
    """``promote_many``, on the sandbox's PDS, and so many also on the official one."""
    urls, official = _urls(bench), bench.services.pds

    def datasets(size: int) -> list[list[str]]:
        return [[url] for url in urls[:size]]

    costs = _costs(bench, _in_bulk, _sizes(bench), datasets)
    [there] = _costs(bench, _in_bulk, [bench.size(_OFFICIAL, _QUICK[-1])], datasets, official)
    counts = (
        *(Count(f"{cost.size:,} datasets", cost.seconds / cost.size * 1e3) for cost in costs[-2:]),
        Count(f"{there.size:,} datasets on {official.title}", there.seconds / there.size * 1e3),
    )
    return Measured(counts=counts, note=_NEAR, costs=tuple(costs))


def _of_shards(bench: Bench) -> list[Cost]:
    def make() -> list[Cost]:
        urls = _urls(bench)
        return _costs(bench, _one, bench.size(SHARDS, _QUICK), lambda size: [urls[:size]])

    return bench.once("costs of one dataset", make)


@row(
    "one dataset of small shards, their URLs kept",
    peer="",
    reach=Reach(most=LINEAR, unit=f"times what a shard costs among {SHARDS[-2]:,}"),
)
def many_shards(bench: Bench) -> Measured:
    """It is linear: neither seconds nor requests of a shard grow with their number."""
    costs = _of_shards(bench)
    few, many = costs[-2:]
    more = many.size / few.size
    counts = (
        Count("seconds", many.seconds / few.seconds / more),
        Count("requests to S3", many.s3 / few.s3 / more),
        Count("round trips to Redis", many.redis / few.redis / more),
        Count("bytes", (many.sent + many.received) / (few.sent + few.received) / more),
    )
    return Measured(counts=counts, note=_NEAR, costs=tuple(costs))


@row("one dataset of small shards, their URLs kept: memory over idle", peer="", reach=Reach(most=150, unit="MB"))
def memory(bench: Bench) -> Measured:
    """Of the dataset with most shards."""
    last = _of_shards(bench)[-1]
    return Measured(counts=(Count(f"{last.size:,} shards", last.memory),))


ROWS = (datasets, many_shards, memory)
