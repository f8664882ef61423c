"""Lookups among very many entries: counted round trips, and what other programs wrote found all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from atdata_core.common.cid import entry_cid
from atdata_core.local import LocalDatasetEntry, LocalIndex
from atdata_core.local.foreign_entries import ROUND, Foreign
from atdata_core.local.registry import Position
from atdata_core.state.redis_state import ask

if TYPE_CHECKING:
    from crowd import RoundTrips

REF = "local://schemas/some.module.Sample@1.0.0"
# To put a hundred thousand in Redis takes longer than the rest of this file.
SIZES = [1_000, pytest.param(100_000, marks=pytest.mark.slow)]
PAUSE = "atdata:scan:pause"


def write_as_upstream(client: Any, name: str, url: str, *, label: bool = False) -> str:
    """An entry as upstream writes it, with the label that upstream's newer versions write."""
    cid = entry_cid(REF, [url])
    values = {"name": name, "schema_ref": REF, "data_urls": msgpack.packb([url]), "cid": cid}
    client.hset(f"LocalDatasetEntry:{cid}", mapping=values)
    if label:
        client.hset(f"Label:{name}@", mapping={"cid": cid, "name": name, "version": ""})
    return cid


@pytest.mark.parametrize("count", SIZES)
def test_a_known_name_is_found_in_one_round_trip_however_many_entries_there_are(
    crowd: Callable[[int], Any], round_trips: RoundTrips, count: int
):
    client = crowd(count)
    index = LocalIndex(client)
    for name in ("crowd-000000", "crowd-000500", "crowd-000999"):
        client.delete("atdata:scanned", PAUSE)
        assert round_trips.of(lambda name=name: index.get_entry_by_name(name)) == 1
    assert index.get_entry_by_name("crowd-000500").data_urls == ["s3://b/a.tar"]


@pytest.mark.parametrize("count", SIZES)
def test_a_newer_entry_that_another_program_labelled_is_found_at_once(
    crowd: Callable[[int], Any], round_trips: RoundTrips, count: int
):
    client = crowd(count)
    index = LocalIndex(client)
    client.set(PAUSE, 1)
    theirs = write_as_upstream(client, "crowd-000007", "labelled.tar", label=True)

    assert round_trips.of(lambda: index.get_entry_by_name("crowd-000007")) == 4
    assert index.get_entry_by_name("crowd-000007").cid == theirs
    assert round_trips.of(lambda: index.get_entry_by_name("crowd-000007")) == 1


@pytest.mark.parametrize("count", SIZES)
def test_a_new_name_that_another_program_labelled_is_found_without_a_look_at_all(
    crowd: Callable[[int], Any], round_trips: RoundTrips, count: int
):
    client = crowd(count)
    index = LocalIndex(client)
    client.set(PAUSE, 1)
    cid = write_as_upstream(client, "new-and-labelled", "a.tar", label=True)

    assert round_trips.of(lambda: index.get_entry_by_name("new-and-labelled")) == 4
    assert index.get_entry_by_name("new-and-labelled").cid == cid


def test_a_label_that_names_another_datasets_entry_makes_no_new_version(crowd: Callable[[int], Any]):
    client = crowd(10)
    index = LocalIndex(client)
    other = write_as_upstream(client, "other", "other.tar")
    client.hset("Label:crowd-000001@", mapping={"cid": other, "name": "crowd-000001", "version": ""})

    assert index.get_entry_by_name("crowd-000001").cid != other
    assert index.get_entry_by_name("other").cid == other


def test_lookups_find_an_entry_without_a_label_step_by_step(crowd: Callable[[int], Any]):
    client = crowd(5_000)
    index = LocalIndex(client)
    theirs = write_as_upstream(client, "crowd-000007", "newer.tar")

    found = []
    for _ in range(6):
        found.append(index.get_entry_by_name("crowd-000007").cid)
        client.delete(PAUSE)
    assert found[-1] == theirs
    assert len(set(found)) <= 2


def test_lookups_take_a_step_only_after_a_pause(crowd: Callable[[int], Any]):
    client = crowd(5_000)
    index = LocalIndex(client)
    index.get_entry_by_name("crowd-000007")
    position = client.get("atdata:scan")
    assert position is not None
    assert 0 < client.pttl(PAUSE) <= 500

    index.get_entry_by_name("crowd-000007")

    assert client.get("atdata:scan") == position


def test_a_whole_round_in_one_step_counts_as_a_look_at_all(crowd: Callable[[int], Any]):
    client = crowd(500)
    index = LocalIndex(client)
    index.get_entry_by_name("crowd-000007")
    assert 0 < client.ttl("atdata:scanned") <= 10
    assert not client.exists("atdata:scan", PAUSE)


@pytest.mark.parametrize("count", SIZES)
def test_a_look_for_news_takes_two_round_trips_however_many_entries_there_are(
    crowd: Callable[[int], Any], round_trips: RoundTrips, count: int
):
    client = crowd(count)
    index = LocalIndex(client)
    position = Position()
    sent = []

    def look() -> None:
        nonlocal position
        found, position = index.news(position, names=100)
        assert len(found) == 100

    for _ in range(4):
        sent.append(round_trips.of(look))
    assert sent == [3, 2, 2, 2]


@pytest.mark.parametrize("count", SIZES)
def test_ten_looks_find_what_another_program_wrote_wherever_the_scan_is(crowd: Callable[[int], Any], count: int):
    client = crowd(count)
    index = LocalIndex(client)
    position = Position()
    for turn in range(2):
        # The scan is somewhere in its round.
        _, position = index.news(position)
        names = [f"theirs-{turn}-{number}" for number in range(20)]
        theirs = {write_as_upstream(client, name, f"{name}.tar") for name in names}
        seen: set[str] = set()
        for _ in range(10):
            found, position = index.news(position, names=1)
            seen |= {entry.cid for entry in found.values() if isinstance(entry, LocalDatasetEntry)}
        # What the last step of the tenth look found comes with the eleventh.
        assert all(client.exists(f"atdata:dataset:{name}") for name in names)
        found, position = index.news(position, names=1)
        assert theirs <= seen | {entry.cid for entry in found.values() if isinstance(entry, LocalDatasetEntry)}


def test_a_step_that_was_broken_off_is_taken_again(crowd: Callable[[int], Any]):
    client = crowd(20_000)
    write_as_upstream(client, "theirs", "a.tar")
    foreign = Foreign(client)
    for _ in range(40):
        # Somebody asks for steps, and is gone before what they find is indexed.
        [(start, following, unknown)] = ask(client, [foreign.step(ROUND)])
        if unknown:
            break
    [again] = ask(client, [foreign.step(ROUND)])
    assert again == [start, following, unknown]

    assert foreign.settle(again)
    assert (client.get("atdata:scan") or b"0") == following
    assert client.exists("atdata:dataset:theirs")
    # Whoever was slower moves nothing and indexes nothing twice.
    ask(client, [foreign.step(ROUND)])
    moved = client.get("atdata:scan")
    assert not foreign.settle(again)
    assert client.get("atdata:scan") == moved
    assert client.xlen("atdata:events") == 1


@pytest.mark.parametrize("position", ["", "no cursor", "-1", "9" * 30])
def test_a_damaged_position_of_the_scan_starts_a_new_round(crowd: Callable[[int], Any], position: str):
    client = crowd(3_000)
    index = LocalIndex(client)
    cid = write_as_upstream(client, "crowd-000007", "newer.tar")
    client.set("atdata:scan", position)
    for _ in range(4):
        found = index.get_entry_by_name("crowd-000007")
        client.delete(PAUSE)
    assert found.cid == cid
