"""Shards that begin to arrive before their turn: in order, in bounded memory, and nothing is left behind."""

import random
import threading
import time
from contextlib import closing
from functools import partial

import pytest

from atdata_core.errors import ShardMissingError
from atdata_core.stores import prefetch as module
from atdata_core.stores.prefetch import EARLY, prefetched
from atdata_core.stores.shard_streams import CHUNK, CHUNKS, Opened, ResumableRead, read_ahead

SIZE = 5 * CHUNK + 17


class Body:
    """A shard at a service."""

    def __init__(self, data):
        self.data, self.at, self.closed = data, 0, False

    def read(self, count):
        given = self.data[self.at : self.at + count]
        self.at += len(given)
        return given

    def close(self):
        self.closed = True


class Store:
    """Gives shards as a service would: ``version`` None is one that cannot go on where a transfer broke off."""

    def __init__(self, size=SIZE, *, version="v", missing=()):
        self.size, self.version, self.missing = size, version, missing
        self.bodies = {}

    def open_shard(self, url):
        if url in self.missing:
            raise ShardMissingError(f"There is no {url}.", url=url)
        body = self.bodies[url] = Body(random.Random(url).randbytes(self.size))
        opened = Opened(body.read, body.close, lambda: None, self.version, self.size)
        return read_ahead(ResumableRead(opened, lambda at, version: None, "a.tar"), self.size)

    def soon(self, true):
        """Whether something becomes true within a second."""
        for _ in range(100):
            if true(self.bodies):
                return True
            time.sleep(0.01)
        return False


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    for _ in range(100):
        left = [each for each in threading.enumerate() if each.name in ("ahead", "next shard")]
        if not left:
            break
        time.sleep(0.01)
    assert left == []


def whole(stream):
    parts = list(iter(lambda: stream.read(CHUNK), b""))
    return b"".join(parts)


@pytest.mark.parametrize("version", ["v", None])
@pytest.mark.parametrize("size", [10, SIZE])
def test_each_shard_comes_whole_and_in_order(size, version):
    store = Store(size, version=version)
    found = [(url, whole(stream)) for url, stream in prefetched("abc", store=store)]
    assert found == [(url, store.bodies[url].data) for url in "abc"]
    assert all(body.closed for body in store.bodies.values())


def test_the_next_one_arrives_while_one_is_read():
    store = Store()
    with closing(prefetched("abc", store=store)) as shards:
        _, stream = next(shards)
        assert list(store.bodies) == ["a"]
        stream.read(1)
        assert store.soon(lambda bodies: "b" in bodies and bodies["b"].at == SIZE)
        assert list(store.bodies) == ["a", "b"]


def test_many_short_shards_take_five_round_trips():
    rounds = [threading.Barrier(31) for _ in range(3)]

    class Together(Store):
        def open_shard(self, url):
            # After the first two, which come alone, none comes before 31 have been asked for.
            if (number := urls.index(url)) >= 2:
                rounds[(number - 2) // 31].wait(10)
            return super().open_shard(url)

    store, urls = Together(64_000), [f"{n}.tar" for n in range(2 + 3 * 31)]
    assert [whole(stream) for _, stream in prefetched(urls, store=store)] == [store.bodies[u].data for u in urls]


def test_whoever_looks_at_the_beginning_has_one_further_shard_opened():
    store = Store(64_000)
    with closing(prefetched("abcd", store=store)) as shards:
        next(shards)[1].read(10)
        assert store.soon(lambda bodies: "b" in bodies)
    assert list(store.bodies) == ["a", "b"]


def at_least(count, bodies):
    return len(bodies) >= count


@pytest.mark.parametrize(("beside", "most"), [(1, 32), (4, 8), (16, 2), (100, 2)])
def test_no_more_shards_are_open_than_are_allowed(beside, most):
    store, urls = Store(64_000), [f"{n}.tar" for n in range(100)]
    together = []
    for turn, (_, stream) in enumerate(prefetched(urls, store=store, beside=beside)):
        whole(stream)
        assert store.soon(partial(at_least, min(100, turn + 2)))
        together.append(len(store.bodies) - turn)
    assert max(together) <= most
    assert len(store.bodies) == 100


def test_what_is_fetched_early_of_all_of_them_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "NEXT", 20 * CHUNK)
    store, urls = Store(), [f"{n}.tar" for n in range(12)]
    for turn, (_, stream) in enumerate(prefetched(urls, store=store)):
        stream.read(1)
        time.sleep(0.02)
        later = [body.at for url, body in dict(store.bodies).items() if urls.index(url) > turn]
        assert sum(later) <= 20 * CHUNK
        whole(stream)
    assert len(store.bodies) == 12


def test_large_ones_behind_small_ones_take_no_more_than_is_left(monkeypatch):
    class Growing(Store):
        def open_shard(self, url):
            self.size = 1_000 if url in "ab" else SIZE
            if url not in "ab":
                together.wait(10)
            return super().open_shard(url)

    monkeypatch.setattr(module, "NEXT", 20 * CHUNK)
    # All of them are opened before it is known how large they are.
    store, together = Growing(), threading.Barrier(10)

    def fetched():
        return sum(body.at for url, body in list(store.bodies.items()) if url not in "ab")

    with closing(prefetched("ab0123456789", store=store)) as shards:
        next(shards)[1].read(1)
        next(shards)
        assert store.soon(lambda bodies: fetched() > 10 * CHUNK)
        time.sleep(0.05)
        assert fetched() <= 20 * CHUNK


def test_one_that_is_waited_for_takes_no_more_than_is_left(monkeypatch):
    class Late(Store):
        def open_shard(self, url):
            if url == "b":
                waited_for.wait(10)
            return super().open_shard(url)

    monkeypatch.setattr(module, "NEXT", 20 * CHUNK)
    store, waited_for = Late(64 * CHUNK), threading.Event()
    with closing(prefetched("ab", store=store)) as shards:
        whole(next(shards)[1])
        # By then it is the turn of the second.
        threading.Timer(0.1, waited_for.set).start()
        next(shards)
        assert store.soon(lambda bodies: bodies["b"].at >= 20 * CHUNK)
        time.sleep(0.05)
        assert store.bodies["b"].at == 20 * CHUNK


def test_processes_side_by_side_share_what_is_fetched_early():
    store = Store(20 * CHUNK)
    with closing(prefetched("ab", store=store, beside=8)) as shards:
        _, stream = next(shards)
        stream.read(11 * CHUNK)
        time.sleep(0.1)
        assert list(store.bodies) == ["a"]
        stream.read(1)
        assert store.soon(lambda bodies: "b" in bodies and bodies["b"].at == 8 * CHUNK)
        time.sleep(0.05)
        assert store.bodies["b"].at == 8 * CHUNK


def test_a_short_one_gives_its_connection_back_before_its_turn():
    store = Store(64_000)
    with closing(prefetched("ab", store=store)) as shards:
        next(shards)[1].read(10)
        assert store.soon(lambda bodies: "b" in bodies and bodies["b"].closed)


def test_it_is_not_opened_before_one_nears_its_end(monkeypatch):
    monkeypatch.setattr(module, "NEXT", 2 * CHUNK)
    store = Store()
    with closing(prefetched("ab", store=store)) as shards:
        _, stream = next(shards)
        stream.read(3 * CHUNK)
        time.sleep(0.1)
        assert list(store.bodies) == ["a"]
        stream.read(1)
        assert store.soon(lambda bodies: "b" in bodies)


def test_no_more_than_some_chunks_of_it_are_fetched_and_no_more_than_of_any_from_its_turn_on(monkeypatch):
    monkeypatch.setattr(module, "NEXT", 100 * CHUNK)
    store = Store(50 * CHUNK)
    shards = prefetched("ab", store=store)
    _, stream = next(shards)
    stream.read(1)
    early = EARLY + CHUNKS
    assert store.soon(lambda bodies: "b" in bodies and bodies["b"].at == early * CHUNK)
    whole(stream)
    _, stream = next(shards)
    for taken in range(1, 15):
        stream.read(CHUNK)
        time.sleep(0.01)
        assert store.bodies["b"].at == early * CHUNK, taken
    whole(stream)
    shards.close()


def test_where_a_transfer_cannot_be_taken_up_it_does_not_begin_early():
    store = Store(version=None)
    with closing(prefetched("ab", store=store)) as shards:
        _, stream = next(shards)
        whole(stream)
        time.sleep(0.1)
        assert list(store.bodies) == ["a"]


def test_an_error_comes_when_it_is_that_shards_turn():
    store = Store(missing="b")
    shards = prefetched("abc", store=store)
    _, stream = next(shards)
    assert whole(stream) == store.bodies["a"].data
    with pytest.raises(ShardMissingError, match="no b"):
        next(shards)
    assert store.soon(lambda bodies: all(body.closed for body in bodies.values()))


def test_whoever_stops_early_leaves_nothing_open():
    store = Store(50 * CHUNK)
    shards = prefetched("ab", store=store)
    _, stream = next(shards)
    stream.read(1)
    assert store.soon(lambda bodies: "b" in bodies)
    shards.close()
    assert store.soon(lambda bodies: all(body.closed for body in bodies.values()))


def test_the_next_one_waits_for_its_turn_where_its_own_transfer_cannot_be_taken_up():
    class Mixed(Store):
        def open_shard(self, url):
            self.version = "v" if url == "a" else None
            return super().open_shard(url)

    store = Mixed(50 * CHUNK)
    shards = prefetched("ab", store=store)
    _, stream = next(shards)
    stream.read(1)
    assert store.soon(lambda bodies: "b" in bodies and bodies["b"].closed)
    assert store.bodies["b"].at == 0
    whole(stream)
    assert whole(next(shards)[1]) == store.bodies["b"].data
    shards.close()


def test_where_no_thread_can_be_started_that_is_said_at_its_turn(monkeypatch):
    start = threading.Thread.start

    def refuse(self):
        if self.name == "ahead" and threading.current_thread().name == "next shard":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    store = Store()
    shards = prefetched("ab", store=store)
    whole(next(shards)[1])
    with pytest.raises(RuntimeError, match="can't start"):
        next(shards)
    assert all(body.closed for body in store.bodies.values())
