"""Write points, with a clock that moves when somebody waits."""

import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.xrpc import write_budget
from atdata_core.atmosphere.xrpc.write_budget import DAY, HOUR, Budget, WaitEndedError, points_of, waiting_until
from atdata_core.errors import RateLimitedError, RefusedError

DID = "did:plc:abcdefghijklmnopqrstuvwx"
KNOWN = "https://morel.us-east.host.bsky.network"
PRIVATE = "https://pds.example"
START = 1_800_000_000.0


class Clock:
    """Wall-clock time; a sleep also lets the time of ``retry_after`` pass."""

    def __init__(self, time_passes):
        self.now, self.slept, self._other = START, [], time_passes

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        self._other.now += seconds

    @property
    def waited(self):
        return self.now - START


@pytest.fixture(autouse=True)
def clock(monkeypatch, time_passes):
    clock = Clock(time_passes)
    monkeypatch.setattr(write_budget, "now", lambda: clock.now)
    monkeypatch.setattr(write_budget, "sleep", clock.sleep)
    return clock


@pytest.mark.parametrize(
    ("nsid", "body", "points"),
    [
        ("com.atproto.repo.createRecord", {}, 3),
        ("com.atproto.repo.putRecord", {}, 2),
        ("com.atproto.repo.deleteRecord", {}, 1),
        ("com.atproto.repo.getRecord", None, 0),
        ("com.atproto.repo.uploadBlob", None, 0),
        (
            "com.atproto.repo.applyWrites",
            {
                "writes": [
                    {"$type": f"com.atproto.repo.applyWrites#{kind}"} for kind in ("create", "update", "delete")
                ]
            },
            6,
        ),
    ],
)
def test_a_write_costs_what_the_reference_pds_counts(nsid, body, points):
    assert points_of(nsid, body) == points


def test_six_thousand_points_wait_for_the_second_hour(clock):
    points = Budget(DID, KNOWN)
    spent = []
    for _ in range(1000):
        points.take(6, "applyWrites")
        spent.append(clock.now)
    assert spent[832] == START
    # 25 s: a part of the window leaves it as a whole.
    assert START + HOUR <= spent[833] <= START + HOUR + 25
    assert spent[-1] == spent[833]


def test_points_come_back_as_they_were_spent(clock):
    points = Budget(DID, KNOWN)
    for _ in range(5):
        for _ in range(100):
            points.take(10, "applyWrites")
        clock.now += 600
    began = clock.now
    points.take(1000, "applyWrites")
    assert clock.now - began <= 600 + 25


def test_no_hour_and_no_day_ever_holds_more_than_its_limit(clock, monkeypatch):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "50/200")
    points, spent = Budget(DID, PRIVATE), []
    for number in range(297):
        cost = (1, 2, 3)[number % 3]
        points.take(cost, "x")
        spent.append((clock.now, cost))
        clock.now += 17 * (number % 5)
    for seconds, limit in ((HOUR, 50), (DAY, 200)):
        for start, _ in spent:
            assert sum(cost for when, cost in spent if start <= when < start + seconds) <= limit
    # 594 points at 200 a day: the last of them some four hours into the third day.
    assert 2 * DAY <= clock.waited <= 2 * DAY + 5 * HOUR


def test_a_wait_is_told_at_once_and_about_every_minute_with_its_end(clock, monkeypatch, caplog):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "2/100")
    points = Budget(DID, PRIVATE)
    with caplog.at_level(logging.INFO, "atdata_core"):
        points.take(2, "com.atproto.repo.putRecord")
        assert caplog.messages == []
        points.take(2, "com.atproto.repo.putRecord")
    assert len(caplog.messages) == pytest.approx(60, abs=2)
    first = caplog.messages[0]
    assert f"{DID} has used its 2 write points of an hour; putRecord waits 60 min, until 2027-01-1" in first
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert max(clock.slept) <= 60


def test_of_several_threads_one_waits_and_tells_and_none_is_overtaken(clock, monkeypatch, caplog):
    """Two threads ask for much while others ask for little: theirs comes before what was asked for later."""
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "10/10000")
    points, order, waiting = Budget(DID, PRIVATE), [], threading.Event()
    points.take(10, "putRecord")

    def sleep(seconds):
        waiting.set()
        clock.sleep(seconds)

    monkeypatch.setattr(write_budget, "sleep", sleep)

    def take(cost):
        points.take(cost, "putRecord")
        order.append(cost)

    with caplog.at_level(logging.WARNING, "atdata_core"), ThreadPoolExecutor(9) as pool:
        pool.submit(take, 10)
        waiting.wait(10)
        for _ in range(8):
            pool.submit(take, 1)
    assert order == [10, *[1] * 8]
    # Two hours, a line a minute, however many wait.
    assert len(caplog.messages) <= 2 * 60 + 4
    assert clock.waited <= 2 * (HOUR + 25)


def test_a_request_of_more_points_than_there_ever_are_waits_for_an_empty_hour(clock, monkeypatch):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "10/10000")
    points = Budget(DID, PRIVATE)
    points.take(600, "applyWrites")
    assert clock.waited == 0
    points.take(600, "applyWrites")
    assert HOUR <= clock.waited <= HOUR + 25


@pytest.mark.parametrize(
    ("service", "said", "counts"),
    [
        ("https://bsky.social", None, True),
        (KNOWN, None, True),
        (PRIVATE, None, False),
        ("https://bsky.social.example", None, False),
        ("https://notbsky.network", None, False),
        (PRIVATE, "4/100", True),
        (KNOWN, "off", False),
    ],
)
def test_points_are_counted_where_they_are_known_to_be_or_where_it_is_said(
    state_folder, monkeypatch, service, said, counts
):
    if said:
        monkeypatch.setenv("ATDATA_WRITE_BUDGET", said)
    Budget(DID, service).take(2, "putRecord")
    assert (state_folder / "writes").is_dir() is counts


@pytest.mark.parametrize("said", ["5000", "0/1", "many/few", "-1/5", "1e9/5", "5/5/5", "OFF?"])
def test_a_budget_that_is_none_is_refused_with_an_example(monkeypatch, said):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", said)
    with pytest.raises(RefusedError, match="5000/35000, or off"):
        Budget(DID, PRIVATE).take(2, "putRecord")


@pytest.mark.parametrize(
    "content",
    ['{"used": 7}', '{"used": {"3600": []}}', '{"used": {"3600": {"x": 1, "5": "y"}}}', "{", '{"closed": "soon"}'],
)
def test_a_damaged_count_is_begun_anew(state_folder, clock, content):
    points = Budget(DID, KNOWN)
    points.take(2, "putRecord")
    (file,) = (state_folder / "writes").glob("*.json")
    file.write_text(content)
    points.take(2, "putRecord")
    assert clock.waited == 0
    assert list(json.loads(file.read_text())["used"]["3600"].values()) == [2]


def test_a_clock_that_was_ahead_does_not_hold_writes_up(clock, monkeypatch):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "2/2")
    points = Budget(DID, PRIVATE)
    clock.now += 365 * DAY
    points.take(2, "putRecord")
    clock.now -= 365 * DAY
    points.take(2, "putRecord")
    assert clock.slept == []


def test_two_processes_share_the_count(state_folder, clock, monkeypatch):
    program = (
        "from atdata_core.atmosphere.xrpc import write_budget as budget\n"
        f"budget.now = lambda: {START}\n"
        f"for _ in range(500): budget.Budget({DID!r}, {KNOWN!r}).take(2, 'putRecord')"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    points = Budget(DID, KNOWN)
    points.take(3000, "applyWrites")
    assert clock.waited == 0
    points.take(2, "putRecord")
    assert clock.waited >= HOUR


def test_without_a_state_folder_each_process_counts_by_itself(clock, monkeypatch):
    monkeypatch.setenv("ATDATA_STATE_DIR", "/dev/null/state")
    points = Budget(DID, KNOWN)
    for _ in range(5):
        points.take(1000, "applyWrites")
    assert clock.waited == 0
    points.take(2, "putRecord")
    assert clock.waited >= HOUR


def test_nobody_waits_who_is_interrupted(clock, monkeypatch):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "2/100")

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(write_budget, "sleep", interrupted)
    points = Budget(DID, PRIVATE)
    points.take(2, "putRecord")
    with pytest.raises(KeyboardInterrupt):
        points.take(2, "putRecord")
    clock.now += HOUR + 25
    points.take(2, "putRecord")  # what was not sent was not charged


def test_points_that_are_not_wanted_any_more_are_not_waited_for(clock, monkeypatch):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "2/100")
    points, ended, turn = Budget(DID, PRIVATE), threading.Event(), threading.Barrier(2)
    points.take(2, "putRecord")

    def sleep(seconds):
        if not ended.is_set():
            turn.wait(10)
            ended.set()
        clock.sleep(seconds)

    monkeypatch.setattr(write_budget, "sleep", sleep)

    def take():
        with waiting_until(ended.is_set):
            points.take(2, "putRecord")

    with ThreadPoolExecutor(2) as pool:
        # One has the turn, the other one waits for it.
        waiting = [pool.submit(take), pool.submit(take)]
        turn.wait(10)
        assert [type(each.exception(10)) for each in waiting] == [WaitEndedError] * 2
    assert clock.waited < 60
    clock.now += HOUR + 25
    points.take(2, "putRecord")  # what was not sent was not charged


# With a client


class Limited(httpx.HTTPTransport):
    """The sandbox's PDS, which refuses writes as the reference one does: ``refusals`` are headers."""

    def __init__(self):
        super().__init__()
        self.refusals, self.asked = [], []

    def handle_request(self, request):
        self.asked.append(request.url.path.rpartition(".")[2])
        if self.asked[-1] in ("putRecord", "deleteRecord") and self.refusals:
            body = {"error": "RateLimitExceeded", "message": "Rate Limit Exceeded"}
            return httpx.Response(429, json=body, headers=self.refusals.pop(0))
        return super().handle_request(request)


@pytest.fixture
def limited(closing):
    return closing(Limited())


@pytest.fixture
def limited_client(environ, pds, account, limited):
    client = AtmosphereClient(pds.url, transport=limited)
    client.login(account.handle, account.password)
    limited.asked.clear()
    return client


def write(client, rkey):
    return client.create_once("a.b.c", rkey, {"$type": "a.b.c"})


def test_writes_of_a_client_are_charged_before_they_are_sent(limited_client, limited, clock, monkeypatch):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "5/100")
    write(limited_client, "a")
    write(limited_client, "b")
    limited_client.delete("a.b.c", "a")
    limited_client.find_record("a.b.c", "b")
    assert clock.waited == 0
    asked = len(limited.asked)

    def look(seconds):
        assert len(limited.asked) == asked
        clock.sleep(seconds)

    monkeypatch.setattr(write_budget, "sleep", look)
    limited_client.delete("a.b.c", "b")
    assert clock.waited >= HOUR


@pytest.mark.parametrize(
    "policy", ["7;w=3600", "3000;w=300, 7;w=3600", '"repo-write-hour";q=7;w=3600', "7; w=3600;burst=2"]
)
def test_a_refusal_that_tells_of_an_hours_points_is_waited_out_and_remembered(
    limited_client, limited, clock, policy, state_folder
):
    write(limited_client, "a")
    assert not (state_folder / "writes").exists()
    limited.refusals.append({"retry-after": "1800", "ratelimit-policy": policy})
    write(limited_client, "b")
    assert 1800 <= clock.waited <= 1802
    assert limited.asked == ["putRecord"] * 3
    # From here on it stays below the limit by itself, in every process.
    for rkey in "cde":
        write(limited_client, rkey)
    assert clock.waited >= 1800 + HOUR
    assert limited.asked == ["putRecord"] * 6
    Budget(limited_client.did, PRIVATE).take(7, "applyWrites")
    assert clock.waited >= 1800 + 2 * HOUR


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"retry-after": "1800"}, None),
        ({"retry-after": "1800", "ratelimit-policy": "3000;w=300"}, None),
        ({"retry-after": "1800", "ratelimit-policy": "nonsense;w=3600"}, None),
        ({"retry-after": "1800", "ratelimit-policy": "7;w=3600"}, "off"),
    ],
)
def test_any_other_refusal_is_told_with_the_time_to_wait(
    limited_client, limited, clock, monkeypatch, headers, said
):
    if said:
        monkeypatch.setenv("ATDATA_WRITE_BUDGET", said)
    limited.refusals.append(headers)
    with pytest.raises(RateLimitedError) as caught:
        write(limited_client, "a")
    assert caught.value.retry_after == pytest.approx(1800, abs=2)
    assert clock.waited == 0
