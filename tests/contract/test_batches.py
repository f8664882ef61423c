"""Many records with few requests: none is lost, written twice or written over, whatever comes in between."""

from __future__ import annotations

import json
import time
from threading import Event

import httpx
import pytest

from atdata_core.atmosphere.record_batches import BatchWriter, Write
from atdata_core.atmosphere.record_format.lexicon import put_request
from atdata_core.atmosphere.xrpc import write_budget
from atdata_core.atmosphere.xrpc.session import AS_SENT
from atdata_core.common.cid import record_cid
from atdata_core.errors import RecordChangedError, ServiceRefusedError, ServiceUnavailableError


class Network(httpx.HTTPTransport):
    """The network, with a list of what is sent. ``before`` and ``lost`` meddle with ``each``."""

    def __init__(self):
        super().__init__()
        self.sent = []
        self.sizes = []
        self.before = lambda number: None
        self.lost = lambda number: False
        self.each = "applyWrites"

    def handle_request(self, request):
        name = request.url.path.rpartition(".")[2]
        self.sent.append(name)
        if name != self.each:
            return super().handle_request(request)
        number = self.sent.count(name)
        self.sizes.append((len(json.loads(request.content).get("writes", [1])), len(request.content)))
        instead = self.before(number)
        if instead is not None:
            return instead
        response = super().handle_request(request)
        if self.lost(number):
            response.read()
            raise httpx.ReadError("[Errno 104] Connection reset by peer")
        return response

    def count(self, name):
        return self.sent.count(name)


@pytest.fixture
def network(closing):
    return closing(Network())


def record(repo, number, **more):
    return {"$type": repo.collection, "createdAt": "2026-01-01T00:00:00.000Z", "n": number, **more}


def creations(repo, count, **more):
    return [Write(repo.collection, f"k{number:04}", record(repo, number, **more), None) for number in range(count)]


def written(repo):
    """CID by key, of all records of the collection."""
    found, more = {}, {}
    while page := (answer := repo.list(limit=100, **more).json())["records"]:
        found |= {each["uri"].rpartition("/")[2]: each["cid"] for each in page}
        more = {"cursor": answer["cursor"]}
    return found


def expected(writes):
    return {write.rkey: record_cid(write.record) for write in writes}


def test_four_hundred_and_fifty_records_are_three_commits(client, repo, network):
    writes = creations(repo, 450)
    answers = BatchWriter(client).write(writes)
    assert written(repo) == expected(writes)
    assert [(each.cid, each.value, made) for each, made in answers] == [
        (record_cid(write.record), write.record, True) for write in writes
    ]
    assert [count for count, _ in network.sizes] == [200, 200, 50]
    # The commit, one empty page, and the records.
    assert network.sent == ["getLatestCommit", "listRecords", *["applyWrites"] * 3]


def test_records_that_are_there_are_adopted_and_nothing_is_written(client, repo, network):
    writes = creations(repo, 250)
    BatchWriter(client).write(writes)
    head = repo.commit()
    network.sent.clear()
    later = [write._replace(record=write.record | {"createdAt": "2027-01-01T00:00:00.000Z"}) for write in writes]
    answers = BatchWriter(client).write(later)
    assert [(each.cid, made) for each, made in answers] == [(record_cid(write.record), False) for write in writes]
    assert repo.commit() == head
    assert network.sent == ["getLatestCommit", *["listRecords"] * 3]


def test_a_few_keys_in_a_large_collection_are_asked_for_one_by_one(client, repo, network):
    repo.apply(*(repo.write("create", f"old{number:03}", {"n": number}) for number in range(200)))
    writes = creations(repo, 5)
    BatchWriter(client).write(writes)
    assert sorted(network.sent) == ["applyWrites", "getLatestCommit", *["getRecord"] * 5, "listRecords"]


def test_a_writer_reads_again_only_after_somebody_elses_commit(client, repo, network):
    writer = BatchWriter(client)
    first, second = creations(repo, 10), creations(repo, 20)[10:]
    writer.write(first)
    writer.refresh()
    writer.write(second)
    assert network.sent == ["getLatestCommit", "listRecords", "applyWrites", "getLatestCommit", "applyWrites"]
    repo.put("theirs", {"n": 1}).raise_for_status()
    writer.refresh()
    assert [made for _, made in writer.write(first)] == [False] * 10
    assert network.sent[5:] == ["getLatestCommit", "listRecords"]


def test_records_are_replaced_where_they_are_as_was_said_and_left_where_not(client, repo):
    writes = creations(repo, 4)
    BatchWriter(client).write(writes)
    swaps = [
        write._replace(record=record(repo, 100 + n), swap=record_cid(write.record))
        for n, write in enumerate(writes)
    ]
    repo.put("k0001", record(repo, 7)).raise_for_status()
    repo.delete("k0002").raise_for_status()
    answers = BatchWriter(client).write([*swaps, Write(repo.collection, "k0003", record(repo, 9), None)])
    assert [isinstance(answer, RecordChangedError) for answer in answers] == [False, True, True, False, True]
    assert answers[1].fields == ["n"]
    assert answers[4].fields == ["n"]
    assert {key: repo.read(key).json()["value"]["n"] for key in written(repo)} == {
        "k0000": 100,
        "k0001": 7,
        "k0003": 103,
    }


def test_of_two_writes_to_one_key_the_second_sees_what_the_first_made(client, repo):
    (write,) = creations(repo, 1)
    (first, made), (same, again), other = BatchWriter(client).write(
        [write, write, write._replace(record=record(repo, 5))]
    )
    assert (first, made, again) == (same, True, False)
    assert isinstance(other, RecordChangedError)


def test_requests_are_split_by_the_size_of_their_body(client, repo, network):
    writes = creations(repo, 9, text="ü" * 75_000)
    answers = BatchWriter(client).write(writes)
    assert all(made for _, made in answers)
    assert written(repo) == expected(writes)
    assert [count for count, _ in network.sizes] == [6, 3]
    assert all(size <= 1_000_000 for _, size in network.sizes)


def test_a_record_that_leaves_no_room_for_the_commit_is_written_alone(client, repo, network):
    small, large, other = creations(repo, 3)
    request = put_request(client.did, repo.collection, large.rkey, {**large.record, "x": ""}, swap=None)
    room = 1_000_000 - len(AS_SENT.encode(request).encode())
    large = large._replace(record=large.record | {"x": "y" * room})
    too_large = Write(repo.collection, "k9", record(repo, 9, x="y" * 1_000_000), None)
    answers = BatchWriter(client).write([small, large, too_large, other])
    assert [isinstance(answer, ServiceRefusedError) and answer.status for answer in answers] == [
        False,
        False,
        413,
        False,
    ]
    assert written(repo) == expected([small, large, other])


def test_a_record_that_the_service_does_not_take_fails_alone(client, repo, network):
    writes = creations(repo, 400)
    writes[137] = writes[137]._replace(record=record(repo, 1.5))
    answers = BatchWriter(client).write(writes)
    failed = answers.pop(137)
    assert isinstance(failed, ServiceRefusedError)
    assert failed.status == 400
    assert all(made for _, made in answers)
    del writes[137]
    assert written(repo) == expected(writes)
    # Halves of 200 down to one: two requests for each of seven or eight sizes; and those of 200.
    assert network.count("applyWrites") <= 2 + 2 * 8


def test_a_record_at_which_the_service_fails_fails_alone(client, repo):
    writes = creations(repo, 12)
    writes[7] = writes[7]._replace(record=record(repo, 2**53))
    answers = BatchWriter(client).write(writes)
    failed = answers.pop(7)
    assert isinstance(failed, ServiceUnavailableError)
    assert failed.status == 500
    assert all(made for _, made in answers)
    del writes[7]
    assert written(repo) == expected(writes)


def test_a_service_that_fails_at_every_record_is_not_asked_for_each(client, repo, network):
    network.before = lambda number: httpx.Response(500, json={"error": "InternalServerError"})
    with pytest.raises(ServiceUnavailableError):
        BatchWriter(client).write(creations(repo, 8))
    # Four attempts for each of 8, 4, 2 and 1, for each of three records.
    assert network.count("applyWrites") <= 4 * 4 * 3
    assert written(repo) == {}


@pytest.mark.parametrize("theirs", ["theirs", "k0250"])
def test_a_rivals_commit_in_the_middle_costs_one_more_request_and_nothing_else(client, repo, network, theirs):
    def rival(number):
        if number == 2:
            repo.put(theirs, record(repo, -1)).raise_for_status()

    network.before = rival
    writes = creations(repo, 300)
    answers = BatchWriter(client).write(writes)
    changed = {number for number, answer in enumerate(answers) if isinstance(answer, RecordChangedError)}
    assert changed == ({250} if theirs == "k0250" else set())
    assert network.count("applyWrites") == 3
    assert written(repo) == expected(writes) | {theirs: record_cid(record(repo, -1))}


def test_what_a_rival_wrote_the_same_is_as_good_as_ours(client, repo, network):
    writes = creations(repo, 3)

    def rival(number):
        if number == 1:
            repo.put("k0001", writes[1].record).raise_for_status()

    network.before = rival
    answers = BatchWriter(client).write(writes)
    assert {each.uri.rpartition("/")[2]: each.cid for each, _ in answers} == written(repo) == expected(writes)


def test_where_others_write_all_the_time_records_are_written_one_by_one(client, repo, network):
    def rival(number):
        repo.put("theirs", {"n": number}).raise_for_status()

    network.before = rival
    writes = creations(repo, 6)
    assert all(made for _, made in BatchWriter(client).write(writes))
    assert (network.count("applyWrites"), network.count("putRecord")) == (3, 6)
    assert expected(writes).items() <= written(repo).items()


@pytest.mark.parametrize("answers_lost", [1, 4])
def test_a_commit_whose_answer_was_lost_is_made_once(client, repo, network, answers_lost):
    network.lost = lambda number: number <= answers_lost
    writes = creations(repo, 250)
    answers = BatchWriter(client).write(writes)
    assert all(made for _, made in answers)
    assert written(repo) == expected(writes)
    sizes = [count for count, _ in network.sizes]
    assert sizes == [200] * max(2, answers_lost) + [50]


def test_a_commit_that_was_overtaken_while_its_answer_was_lost_is_told_apart(client, repo, network):
    network.lost = lambda number: number == 1
    writes = creations(repo, 3)

    def rival(number):
        if number == 2:
            repo.put("k0001", record(repo, -1)).raise_for_status()

    network.before = rival
    first, second, third = BatchWriter(client).write(writes)
    assert first[1]
    assert third[1]
    assert isinstance(second, RecordChangedError)


def test_a_service_that_is_down_is_an_error_for_all_and_the_next_attempt_goes_on(client, repo, network):
    network.before = lambda number: httpx.Response(503) if number > 1 else None
    writes = creations(repo, 300)
    with pytest.raises(ServiceUnavailableError):
        BatchWriter(client).write(writes)
    assert len(written(repo)) == 200
    network.before = lambda number: None
    assert [made for _, made in BatchWriter(client).write(writes)] == [False] * 200 + [True] * 100
    assert written(repo) == expected(writes)


# Where the account's writes are counted


@pytest.fixture
def counted(network, monkeypatch, state_folder):
    """Points that were taken so far."""
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "5000/35000")
    network.each = "putRecord"

    def points():
        (file,) = (state_folder / "writes").glob("*.json")
        return sum(json.loads(file.read_text())["used"]["3600"].values())

    return points


def test_each_record_costs_two_points_and_one_that_is_there_costs_none(client, repo, network, counted):
    writes = creations(repo, 50)
    first, again = BatchWriter(client).write([*writes, writes[0]])[0::50]
    assert (first[1], again[1]) == (True, False)
    assert (counted(), network.count("putRecord"), network.count("applyWrites")) == (100, 50, 0)
    assert written(repo) == expected(writes)
    assert [made for _, made in BatchWriter(client).write(writes)] == [False] * 50
    assert counted() == 100
    swaps = [
        write._replace(record=record(repo, 100 + n), swap=record_cid(write.record))
        for n, write in enumerate(writes)
    ]
    assert all(made for _, made in BatchWriter(client).write(swaps))
    assert counted() == 200
    assert written(repo) == expected(swaps)


def test_a_counted_write_that_a_rival_was_before_is_told_apart_from_a_lost_answer(client, repo, network, counted):
    writes = creations(repo, 6)

    def rival(number):
        if number == 1:
            repo.put("k0001", record(repo, -1)).raise_for_status()

    network.before = rival
    network.lost = lambda number: number in (2, 3, 4)
    answers = BatchWriter(client).write(writes)
    assert [isinstance(answer, RecordChangedError) for answer in answers] == [n == 1 for n in range(6)]
    del answers[1]
    assert all(made for _, made in answers)
    assert written(repo) == expected(writes) | {"k0001": record_cid(record(repo, -1))}


def test_a_counted_record_at_which_the_service_fails_fails_alone(client, repo, network, counted):
    writes = creations(repo, 12)
    for number in (7, 8, 9, 10):
        writes[number] = writes[number]._replace(record=record(repo, 2**53))
    writes[3] = writes[3]._replace(record=record(repo, 1.5))
    answers = BatchWriter(client).write(writes)
    failed = {number: answer.status for number, answer in enumerate(answers) if isinstance(answer, Exception)}
    assert failed == {3: 400, 7: 500, 8: 500, 9: 500, 10: 500}
    assert written(repo) == expected(write for number, write in enumerate(writes) if number not in failed)


@pytest.mark.parametrize("status", [500, 503])
def test_a_service_that_takes_no_counted_write_is_an_error_for_all(client, repo, network, counted, status):
    network.before = lambda number: httpx.Response(status)
    with pytest.raises(ServiceUnavailableError):
        BatchWriter(client).write(creations(repo, 8))
    network.before = lambda number: None
    assert all(made for _, made in BatchWriter(client).write(creations(repo, 8)))


def test_a_service_that_fails_from_some_counted_write_on_is_not_asked_for_each(client, repo, network, counted):
    network.before = lambda number: httpx.Response(500) if number > 20 else None
    with pytest.raises(ServiceUnavailableError):
        BatchWriter(client).write(creations(repo, 100))
    # Four attempts for each that fails, and for those that are under way then.
    assert network.count("putRecord") <= 20 + 4 * (11 + 8)
    assert len(written(repo)) == 20


def test_counted_writes_that_wait_for_points_end_with_one_that_fails(client, repo, network, counted, monkeypatch):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "6/1000")
    waiting, slept = Event(), []

    def sleep(seconds):
        waiting.set()
        slept.append(seconds)
        assert len(slept) < 1000, "nobody ends the wait"
        time.sleep(0.001)

    def refused(number):
        waiting.wait(10)
        return httpx.Response(404, json={"error": "Unlike", "message": "x"}) if number == 3 else None

    monkeypatch.setattr(write_budget, "sleep", sleep)
    network.before = refused
    with pytest.raises(ServiceRefusedError):
        BatchWriter(client).write(creations(repo, 100))
    assert len(slept) < 1000
    assert network.count("putRecord") == 3


def test_counted_writes_are_few_at_a_time(client, repo, network, counted):
    under_way, most = [], []

    def count(number):
        under_way.append(number)
        most.append(len(under_way))
        time.sleep(0.02)
        under_way.remove(number)

    network.before = count
    assert all(made for _, made in BatchWriter(client).write(creations(repo, 40)))
    assert max(most) <= 8
