"""What figures mean for one account at internet scale: computed from them and from the limits of hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from atdata_core.atmosphere.record_format.build import storage_of
from atdata_core.atmosphere.record_format.lexicon import MAX_REQUEST
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL
from atdata_core.atmosphere.xrpc.session import AS_SENT
from atdata_core.atmosphere.xrpc.write_budget import DAY, HOUR, KNOWN_LIMITS, points_of
from atdata_core.protocols import ShardFacts
from benchmarks.frame import Cost, Result
from benchmarks.places import PDS_SECONDS
from benchmarks.table import Surroundings, grown
from scaling.figures import Found, number

_RECORDS = (ENTRY, LABEL)
POINTS = len(_RECORDS) * points_of("com.atproto.repo.putRecord", None)
"""Write points of a new dataset: each of its records is written alone."""
UPLOADS = 1_000
"""Blobs that the reference PDS takes from an address in a day:
https://docs.bsky.app/docs/advanced-guides/rate-limits"""

_MANY = 1_000_000
_ADDRESS = 80
_HEAD = """\
| one account, datasets of one small shard | an hour | a day | a million take |
|---|---:|---:|---:|"""


class Performance(NamedTuple):
    """What ``make bench`` found, and where."""

    results: list[Result]
    surroundings: Surroundings


@dataclass(frozen=True)
class Pace:
    """How many datasets an account gets published, at most.

    Attributes:
        where: Under which conditions, for people.
        hour: In an hour.
        day: In a day.
    """

    where: str
    hour: float
    day: float

    @property
    def line(self) -> str:
        """Of the table."""
        return f"| {self.where} | {self.hour:,.0f} | {self.day:,.0f} | {_duration(_MANY / self.day * DAY)} |"


def fitting(address: int) -> int:
    """How many shards an entry record has room for at most, at addresses of so many characters."""
    shard = ShardFacts("https://example.org/".ljust(address, "a"), 1, "0" * 64)
    one, two = (len(AS_SENT.encode(storage_of([shard] * count))) for count in (1, 2))
    return MAX_REQUEST // (two - one)


def counted() -> Pace:
    """On a host that counts write points."""
    hour, day = (limit // POINTS for limit in (KNOWN_LIMITS[HOUR], KNOWN_LIMITS[DAY]))
    limits = f"{KNOWN_LIMITS[HOUR]:,} an hour, {KNOWN_LIMITS[DAY]:,} a day; {POINTS} a dataset"
    return Pace(f"a host that counts write points ({limits})", hour, min(day, DAY // HOUR * hour))


def steady(where: str, seconds: float) -> Pace:
    """Where a dataset takes so many seconds and nothing is counted."""
    return Pace(f"{where} ({_milliseconds(seconds)} a dataset)", HOUR / seconds, DAY / seconds)


def section(found: Sequence[Found], performance: Performance | None) -> str:
    """The part of the page, in Markdown; empty where nobody has measured what it costs as the work grows."""
    if performance is None:
        return ""
    curves = grown(performance.results)
    if not curves.keys() >= {"growing.datasets", "growing.many_shards"}:
        return ""
    many, shards = curves["growing.datasets"][-1], curves["growing.many_shards"][-1]
    seconds = many.seconds / many.size
    limited, near = counted(), steady("a PDS of one's own, all services near", seconds)
    far, job = _far(performance.results), _job(found)
    paces = [limited, near]
    if far is not None:
        paces.append(steady(f"a PDS of one's own, {PDS_SECONDS * 1e3:.0f} ms away", far))
    if job is not None:
        paces.append(steady("near, in Dagster's bulk job, two shards each", job))
    uploads = f"shards as blobs on the reference PDS ({UPLOADS:,} a day from an address)"
    paces.append(Pace(uploads, UPLOADS, UPLOADS))
    measured = performance.surroundings
    introduction = (
        "Computed from the figures above, from those of [performance](performance.md) (of "
        f"{measured.date}, revision {measured.revision}), and from the limits of hosts that the code knows."
    )
    said = [_cost(many), _second_account(limited, near), _own_pds(limited, near), _workers(limited, many)]
    if far is not None:
        said.append(_waiting(seconds, far))
    said += [_larger_shards(shards), _memory(many, shards)]
    table = "\n".join([_HEAD, *(pace.line for pace in paces)])
    return "\n\n".join([introduction, table, "\n".join(f"- {each}" for each in said)])


def _cost(many: Cost) -> str:
    pds, s3, redis, size = (
        count / many.size for count in (many.pds, many.s3, many.redis, many.sent + many.received)
    )
    return (
        f"A dataset of one small shard, among {many.size:,}, costs {number(pds)} requests to the PDS (on a host "
        f"that counts {len(_RECORDS)}, for each record is written alone), {number(s3)} to S3, {number(redis)} "
        f"round trips to Redis and {number(size / 1e3)} kB; a million of them are {number(s3)} million requests "
        "to S3, which is what a provider charges for."
    )


def _second_account(limited: Pace, near: Pace) -> str:
    return (
        f"**A second account** is the answer where a host counts and more than {limited.day:,.0f} datasets a day "
        f"come in for good, and they can have another publisher: points are counted by account. One process "
        f"is enough for {number(near.day // limited.day)} of them."
    )


def _own_pds(limited: Pace, near: Pace) -> str:
    times = [_duration(_MANY / pace.day * DAY) for pace in (near, limited)]
    return (
        "**A PDS of one's own** is the answer where all have one publisher, or for what is there already: it "
        f"counts only what its owner lets it count, and a million datasets take {times[0]} instead of {times[1]}."
    )


def _workers(limited: Pace, many: Cost) -> str:
    day = many.seconds / many.size * limited.day
    return (
        f"**More workers** are no answer on a host that counts: what it takes in a day is {_duration(day)} of work "
        f"for one process. Beside a PDS of one's own a process keeps {number(many.cpu / many.seconds)} of a core "
        "busy: more threads (`workers`) help until that is a whole one, then more processes, each with names of "
        "its own."
    )


def _waiting(near: float, far: float) -> str:
    return (
        f"Where the network is far a dataset takes {_milliseconds(far)}, near {_milliseconds(near)}; the "
        "difference is waiting, and a worker beside the PDS and the store saves it."
    )


def _larger_shards(shards: Cost) -> str:
    requests, each, most = shards.s3 / shards.size, shards.seconds / shards.size, fitting(_ADDRESS)
    return (
        f"**Larger shards** are the answer where a dataset has more of them than a record of {MAX_REQUEST / 1e6:g} "
        f"MB has room for: {most:,} at addresses of {_ADDRESS} characters, which are {number(most / 1e3)} TB in "
        "shards of 1 GB. "
        f"Besides its bytes, which are read once, a shard costs {number(requests)} requests to S3 and "
        f"{_milliseconds(each)} whatever its size: a terabyte in shards of 1 GB {_duration(1_000 * each)} of that, "
        f"in shards of 100 MB, and several datasets, {_duration(10_000 * each)}."
    )


def _memory(many: Cost, shards: Cost) -> str:
    return (
        f"Memory: {many.size:,} datasets in bulk take {number(many.memory)} MB over idle, a dataset of "
        f"{shards.size:,} shards {number(shards.memory)} MB."
    )


def _far(results: Sequence[Result]) -> float | None:
    """Seconds of a dataset in bulk where the network is far; None: not measured."""
    for result in results:
        if result.name == "far.in_bulk" and result.measured is not None:
            [count] = result.measured.counts
            return count.ours / int(count.at.split()[0].replace(",", ""))
    return None


def _job(found: Sequence[Found]) -> float | None:
    """Seconds of a dataset in Dagster's bulk job; None: not measured."""
    figures = [figure for each in found for figure in each.figures]
    return next((figure.value for figure in figures if figure.what == "bulk job: a dataset"), None)


def _milliseconds(seconds: float) -> str:
    return f"{number(seconds * 1e3)} ms"


def _duration(seconds: float) -> str:
    for unit, size in (("days", DAY), ("hours", HOUR), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds)} s"
