"""How far something is: counted from what several threads tell, and said in words."""

import threading

import pytest

from atdata_pipelines.display import progress
from atdata_pipelines.display.progress import Transfers, duration_of, reporting, size_of


@pytest.fixture
def clock(monkeypatch):
    """A second passes when ``clock()`` is called."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def passes(seconds=1.0):
        now[0] += seconds

    return passes


def test_bytes_rate_and_time_left_are_told_in_all_and_of_each_shard(clock):
    found = Transfers("shards copied")
    found(0, 4)
    found.passed("s3://b/0.tar", 50_000_000, 100_000_000)
    clock()
    found.passed("s3://b/0.tar", 50_000_000, 100_000_000)
    found.passed("s3://b/1.tar", 25_000_000, 100_000_000)
    clock()
    found(1, 4)
    assert found.under_way() == [("s3://b/1.tar", 25_000_000, 100_000_000)]
    # Two shards were not begun: they count as the others do.
    assert (found.bytes, found.expected) == (125_000_000, 400_000_000)
    assert str(found) == "1 of 4 shards copied, 125 MB of 400 MB, 37.5 MB/s, 7 s left"


def test_shards_that_are_done_without_a_byte_are_not_waited_for():
    found = Transfers("shards looked at")
    found.passed("a", 10, 10)
    found(1, 4)
    found(3, 4)
    assert found.expected == 20


def test_a_single_shard_whose_size_is_not_known_is_counted(clock):
    found = Transfers("shards read")
    found.passed("a", 1_500, None)
    assert (found.expected, found.seconds_left, str(found)) == (None, None, "shards read, 1.5 kB")


def test_several_threads_tell_of_bytes():
    found = Transfers("shards")
    threads = [
        threading.Thread(target=lambda n=n: [found.passed(f"{n}", 1, 1000) for _ in range(1000)]) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.bytes == 8000


def test_a_log_is_told_now_and_then(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0)
    said = []
    tell = reporting(said.append, "shards looked at")
    tell(1, 2)
    assert said == ["1 of 2 shards looked at"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 byte"),
        (999, "999 bytes"),
        (1200, "1.2 kB"),
        (99_960, "100 kB"),
        (999_600, "1.0 MB"),
        (3 * 10**15, "3000 TB"),
    ],
)
def test_sizes_are_told_as_people_do(count, text):
    assert size_of(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (89, "89 s"), (91, "2 min"), (5400, "1 h 30 min")])
def test_times_are_told_as_people_do(seconds, text):
    assert duration_of(seconds) == text
