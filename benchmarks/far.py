"""The paths that users wait for, where services are far away, and what the same costs beside them."""

from __future__ import annotations

import importlib.util
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from statistics import median
from typing import Any

from atdata_core import Dataset
from atdata_core.local import S3DataStore
from atdata_core.promote import promote_many, promote_to_atmosphere
from atdata_core.reading.pull import pull
from atdata_core.state.ledger import MemoryLedger
from benchmarks.apart import apart
from benchmarks.copying import PEER_COPY, bare_copy, rclone_copy
from benchmarks.delays import Service, far
from benchmarks.frame import Bench, Count, Measured, NotInstalled, Race, Reach, expect, row, seconds, timed
from benchmarks.labs import random_lab, store_in
from benchmarks.places import RATE, S3_SECONDS, Place, Shards, Spent, afar, beside, bounded, shards
from benchmarks.reading import read_pictures
from benchmarks.samples import Picture

_LINK = f"(the link carries {RATE / 1e6:.0f} MB/s)"
_WORKERS = 16
_RCLONE = ("--transfers", "32", "--checkers", "64")
_PEER_RCLONE = f"`rclone copy {' '.join(_RCLONE)}`"
_PEER_LINK = "what the link can carry"
_MB = 1_000_000
_KNOWN, _READ = "their digests are known", "they are read first"
"""Shards that ``Repo.insert`` has written have claims; those that were written otherwise are read once."""


def _waited(bench: Bench, at: str, runs: Sequence[Spent]) -> Measured:
    """Seconds that are waited for, and in a note what was asked for."""
    last, waited = runs[-1], median(run.seconds for run in runs)
    note = (
        f"{waited / S3_SECONDS:.0f} times {S3_SECONDS * 1e3:.0f} ms; {last.pds:,} requests to "
        f"{bench.services.pds.title}, {last.s3:,} to S3, {last.public:,} to its public address, "
        f"{last.redis:,} round trips to Redis"
    )
    return Measured(counts=(Count(at, waited),), note=note)


@row("one dataset of one shard, its URL kept, its schema known", peer="", reach=Reach(most=0.55, unit="seconds"))
def one_kept(bench: Bench) -> Measured:
    """New datasets, one after the other, of somebody who is logged in."""
    place, several = afar(bench), bench.size(5, 2)
    made = shards(bench.services, several, 500)
    runs: list[Spent] = []
    for url in made.urls:
        entry = place.insert([url])
        runs.append(place.spent(lambda entry=entry: promote_to_atmosphere(entry, place.index, place.client)))
    return _waited(bench, "a dataset", runs)


def _kept(bench: Bench) -> list[tuple[Spent, Spent]]:
    """A dataset of many shards that stay where they are, for the first time and once more."""

    def make() -> list[tuple[Spent, Spent]]:
        place = afar(bench)

        def both() -> tuple[Spent, Spent]:
            entry = place.insert(shards(bench.services, bench.size(200, 20), 500).urls)

            def promote() -> None:
                promote_to_atmosphere(entry, place.index, place.client)

            return place.spent(promote), place.spent(promote)

        return [both() for _ in range(bench.size(2, 1))]

    return bench.once("a dataset whose URLs are kept", make)


@row("200 shards, their URLs kept, for the first time", peer="", reach=Reach(most=1.2, unit="seconds"))
def many_kept(bench: Bench) -> Measured:
    """Each shard is read, and seen where the record says that it lies; S3 gives it to who has keys."""
    return _waited(bench, bench.size("200 shards", "20 shards"), [first for first, _ in _kept(bench)])


@row("200 shards, their URLs kept, nothing changed", peer="", reach=Reach(most=0.8, unit="seconds"))
def nothing_changed(bench: Bench) -> Measured:
    """Each shard is looked at."""
    return _waited(bench, bench.size("200 shards", "20 shards"), [again for _, again in _kept(bench)])


def _copied(bench: Bench) -> dict[str, Spent]:
    """A dataset of many shards that are copied to where anybody reads them on the same endpoint, in two ways."""

    def make() -> dict[str, Spent]:
        place, services = afar(bench), bench.services
        runs: dict[str, Spent] = {}
        for title in (_READ, _KNOWN):
            made, bucket = shards(services, bench.size(200, 20), _MB), services.new_bucket(services.box)
            entry, store = place.insert(made.urls), place.public_store(bucket)
            if title == _KNOWN:
                place.look_at(entry)

            def promote(entry: Any = entry, store: S3DataStore = store) -> None:
                promote_to_atmosphere(entry, place.index, place.client, data_store=store)

            runs[title] = place.spent(promote)
            for used in (made.bucket, bucket):
                services.remove_bucket(services.box, used)
        return runs

    return bench.once("a dataset that is copied", make)


@row("200 shards of 1 MB, copied on one endpoint", peer="", reach=Reach(most=2, unit="seconds"))
def many_copied(bench: Bench) -> Measured:
    """The whole promotion: shards are looked at or read, copied, and seen at their public address."""
    runs = _copied(bench)
    waited = _waited(bench, _KNOWN, [runs[_KNOWN]])
    return replace(waited, counts=(*waited.counts, Count(_READ, runs[_READ].seconds)))


@row(
    "200 shards of 1 MB, copied on one endpoint: what each is asked for",
    peer="",
    reach=Reach(most=2, unit="requests to S3"),
)
def requests_of_copies(bench: Bench) -> Measured:
    """All of the promotion, the look or the reading among them; not those to the public address."""
    count = bench.size(200, 20)
    # Rounded: those for the bucket are few, and the same for any number of shards.
    return Measured(counts=tuple(Count(title, round(run.s3 / count, 1)) for title, run in _copied(bench).items()))


@row("200 datasets of one shard in bulk, their URLs kept", peer="", reach=Reach(most=2.5, unit="seconds"))
def in_bulk(bench: Bench) -> Measured:
    """``promote_many``, the schema known."""
    place, count = afar(bench), bench.size(200, 20)
    runs: list[Spent] = []
    for _ in range(bench.size(2, 1)):
        entries = [place.insert([url]) for url in shards(bench.services, count, 500).urls]
        runs.append(place.spent(lambda entries=entries: _promote_many(place, entries)))
    return _waited(bench, f"{count} datasets", runs)


def _promote_many(place: Place, entries: Sequence[Any]) -> None:
    outcomes = promote_many(entries, place.index, place.client)
    expect([outcome.error for outcome in outcomes if outcome.error], [], "refused")


def _small(bench: Bench) -> Shards:
    return bench.once("small shards", lambda: shards(bench.services, bench.size(100, 10), 64_000))


def _samples(made: Shards, s3: Mapping[str, str]) -> Any:
    store = S3DataStore(s3, bucket=made.bucket)
    return Dataset[Picture](made.urls, data_store=store).ordered()


def _read(made: Shards, s3: Mapping[str, str]) -> None:
    expect(read_pictures(_samples(made, s3)), made.samples, "samples")


@row(
    "read `ordered()`, 100 shards of 64 kB, one consumer",
    peer="the same beside S3",
    reach=Reach(ratio=0.77),
)
def read_small(bench: Bench) -> Measured:
    """A round trip a shard, unless several are under way."""
    made, place = _small(bench), afar(bench)

    def ours() -> None:
        _read(made, place.s3)

    def peer() -> None:
        _read(made, bench.services.box.s3)

    return Measured(bench.race(ours, peer, repeats=3))


@row(
    "read `ordered()`, 100 shards of 64 kB, until the first sample is there",
    peer="",
    reach=Reach(most=2, unit="times the round trip"),
)
def first_sample(bench: Bench) -> Measured:
    """With a client that has connections."""
    made, place = _small(bench), afar(bench)

    def once() -> float:
        start = time.perf_counter()
        with closing(iter(_samples(made, place.s3))) as samples:
            next(samples)
            return time.perf_counter() - start

    once()
    found = [once() for _ in range(bench.size(5, 1))]
    return Measured(counts=(Count(f"median of {len(found)}", median(found) / S3_SECONDS),))


def _large(bench: Bench) -> Shards:
    count, size = bench.size((64, 8), (8, 2))
    return bench.once("large shards", lambda: shards(bench.services, count, size * _MB))


@row(
    f"read `ordered()`, 64 shards of 8 MB, one consumer {_LINK}",
    peer=_PEER_LINK,
    reach=Reach(ratio=0.9),
)
def read_large(bench: Bench) -> Measured:
    """As fast as the link goes; the peer is no program, but bytes divided by the rate."""
    made, s3 = _large(bench), _bounded_s3(bench, 0)
    return Measured(
        bench.race(
            lambda: _read(made, s3),
            lambda: made.size / RATE,
            amount=made.size / _MB,
            unit="MB/s",
            repeats=2,
            warm=False,
        )
    )


def _bounded_s3(bench: Bench, number: int) -> dict[str, str]:
    return {**bench.services.box.s3, "AWS_ENDPOINT": bounded(bench).urls[number]}


def _read_by_workers(made: Shards, s3: Mapping[str, str], near: Mapping[str, str]) -> float:
    from torch.utils.data import DataLoader

    # What is imported late is so once, and not by each worker: there are more of them than cores.
    with closing(iter(_samples(made, near))) as samples:
        next(samples)
    warnings.filterwarnings("ignore", "This DataLoader will create")
    # Where somebody trains it is so on Linux; a process that was spawned spawns.
    workers = {"num_workers": _WORKERS, "multiprocessing_context": "fork", "persistent_workers": True}
    loader = DataLoader(_samples(made, s3), batch_size=None, **workers)
    # Processes begin with the first epoch, which takes torch half a second.
    read_pictures(loader)
    return seconds(lambda: expect(read_pictures(loader), made.samples, "samples of all workers"))


@row(
    f"read 32 shards of 8 MB by a `DataLoader` with {_WORKERS} processes {_LINK}",
    peer="one consumer",
    reach=Reach(ratio=0.95, most=2 * _WORKERS, unit="connections"),
    optional=True,
)
def read_by_workers(bench: Bench) -> Measured:
    """The second epoch, in a fresh process, which may be forked; both are to go as fast as the link."""
    if importlib.util.find_spec("torch") is None:
        raise NotInstalled("PyTorch is not installed; `make bench` installs it (pip install --group bench)")
    every, near = _large(bench), bench.services.box.s3
    made = every._replace(keys=every.keys[::2], samples=every.samples // 2, size=every.size // 2)
    # One for each side: connections are counted.
    service = Service(bench.services.reading_s3, S3_SECONDS, RATE)
    with far(service, service) as proxies:
        workers, one = ({**near, "AWS_ENDPOINT": url} for url in proxies.urls)
        race = bench.race(
            lambda: apart(_read_by_workers, made, workers, near),
            lambda: _read(made, one),
            amount=made.size / _MB,
            unit="MB/s",
            repeats=2,
            warm=False,
        )
        return Measured(race, (Count("at a time", proxies.connections()[0]),))


def _to_copy(bench: Bench, shards: int) -> tuple[int, int]:
    return bench.size((shards, 4 * _MB), (4, _MB))


def _race_to_copy(bench: Bench, size: int, ours: Callable[[], float], peer: Callable[[], float]) -> Race:
    return bench.race(ours, peer, amount=size / _MB, unit="MB/s", repeats=2, warm=False)


def _beside_link(race: Race) -> Measured:
    """The same runs of ours; the peer is no program, but bytes divided by the rate."""
    return Measured(replace(race, peers=[race.amount * _MB / RATE]))


def _pulled(bench: Bench) -> Race:
    return bench.once("a race to pull", lambda: _race_to_pull(bench))


def _race_to_pull(bench: Bench) -> Race:
    place, made, target = afar(bench), shards(bench.services, *_to_copy(bench, 64)), bench.folder / "pulled"
    public = bounded(bench).urls[1]
    with place.stood_at(public):
        entry = place.insert([f"{public}/{made.bucket}/{key}" for key in made.keys])
        uri = promote_to_atmosphere(entry, place.index, place.client)

    def emptied() -> None:
        shutil.rmtree(target, ignore_errors=True)

    def ours() -> float:
        emptied()
        with place.stood_at(public), timed() as taken:
            found = pull(uri, target, client=place.client)
        expect(sum(shard.size for shard in found.shards), made.size, "bytes that were pulled")
        return taken[0]

    def peer() -> float:
        emptied()
        with timed() as taken:
            rclone_copy(f"from:{made.bucket}", str(target), {"from": _bounded_s3(bench, 0)}, *_RCLONE)
        expect(sum(file.stat().st_size for file in target.iterdir()), made.size, "bytes that rclone copied")
        return taken[0]

    return _race_to_copy(bench, made.size, ours, peer)


@row(f"`pull` of 64 shards of 4 MB {_LINK}", peer=_PEER_RCLONE, reach=Reach(ratio=1))
def pulled(bench: Bench) -> Measured:
    """From a public address into a folder, every byte checked; the peer has keys and reads the same from S3."""
    return Measured(_pulled(bench))


@row(f"`pull` of 64 shards of 4 MB {_LINK}", peer=_PEER_LINK, reach=Reach(ratio=0.9))
def pulled_beside_link(bench: Bench) -> Measured:
    """The record is found first."""
    return _beside_link(_pulled(bench))


def _across(bench: Bench) -> Race:
    return bench.once("a race across endpoints", lambda: _race_across(bench))


def _race_across(bench: Bench) -> Race:
    services, box, other = bench.services, bench.services.box, bench.services.other_box
    source, to = _bounded_s3(bench, 2), {**other.s3, "AWS_ENDPOINT": bounded(bench).urls[3]}
    near = random_lab(services, *_to_copy(bench, 128))
    lab = near._replace(
        s3=source, shards=tuple(replace(shard, endpoint=source["AWS_ENDPOINT"]) for shard in near.shards)
    )

    def ours() -> float:
        bucket = services.new_bucket(other)
        with timed() as taken:
            copies = lab.copied_into(store_in(to, bucket), MemoryLedger())
        expect(copies.bytes_written, lab.size, "bytes written by us")
        services.remove_bucket(other, bucket)
        return taken[0]

    def peer() -> float:
        bucket = services.new_bucket(other)
        with timed() as taken:
            rclone_copy(f"from:{lab.bucket}", f"to:{bucket}", {"from": source, "to": to}, *_RCLONE)
        expect(services.s3(other).list_objects_v2(Bucket=bucket)["KeyCount"], len(lab.shards), "objects")
        services.remove_bucket(other, bucket)
        return taken[0]

    found = _race_to_copy(bench, lab.size, ours, peer)
    services.remove_bucket(box, lab.bucket)
    return found


@row(f"copy 128 shards of 4 MB across endpoints {_LINK}", peer=_PEER_RCLONE, reach=Reach(ratio=1))
def across_endpoints(bench: Bench) -> Measured:
    """From one S3 server to another, with SHA-256; the stage ``copied_shards`` alone."""
    return Measured(_across(bench))


@row(f"copy 128 shards of 4 MB across endpoints {_LINK}", peer=_PEER_LINK, reach=Reach(ratio=0.9))
def across_beside_link(bench: Bench) -> Measured:
    """In each direction."""
    return _beside_link(_across(bench))


@row(
    "promote 32 shards of 1 MB, their digests known, copied on one endpoint, all services near",
    peer=PEER_COPY,
    reach=Reach(ratio=0.6),
)
def whole_promotion(bench: Bench) -> Measured:
    """All of it: shards are looked at, copied, and seen at their public address, and records written."""
    place, services = beside(bench), bench.services
    box, client = services.box, services.s3(services.box)
    count = bench.size(32, 4)

    def ours() -> float:
        made, bucket = shards(services, count, _MB), services.new_bucket(box)
        entry, store = place.insert(made.urls), place.public_store(bucket)
        place.look_at(entry)
        with place.stood_at(), timed() as taken:
            promote_to_atmosphere(entry, place.index, place.client, data_store=store)
        return taken[0]

    def peer() -> float:
        made, bucket = shards(services, count, _MB), services.new_bucket(box)
        with timed() as taken:
            bare_copy(client, made.bucket, made.keys, bucket)
        return taken[0]

    return Measured(bench.race(ours, peer, amount=count, unit="MB/s", repeats=3, warm=False))


ROWS = (
    one_kept,
    many_kept,
    nothing_changed,
    many_copied,
    requests_of_copies,
    in_bulk,
    read_small,
    first_sample,
    read_large,
    read_by_workers,
    pulled,
    pulled_beside_link,
    across_endpoints,
    across_beside_link,
    whole_promotion,
)
