"""Records that a promotion will ask for are asked for while its shards are looked at."""

import threading
import time

import pytest

from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.errors import ServiceUnavailableError
from atdata_core.promotion.records import early_finds
from atdata_core.promotion.records.early_finds import EarlyFinds


class Client:
    """Finds what was asked for so often; several may be asked at the same time."""

    def __init__(self, together=1):
        self.asked = []
        self._meeting = threading.Barrier(together, timeout=30)

    def find_record(self, collection, rkey):
        self._meeting.wait()
        self.asked.append((collection, rkey))
        if rkey == "away":
            raise ServiceUnavailableError("It does not answer.", service="pds", status=None)
        return len(self.asked)


def test_all_are_asked_for_at_once_and_each_answer_is_given_once():
    client = Client(together=2)
    finds = EarlyFinds(client, [(LABEL, "a"), (ENTRY, "b")])
    assert {finds.find(LABEL, "a"), finds.find(ENTRY, "b")} == {1, 2}
    client._meeting = threading.Barrier(1)
    assert (finds.find(LABEL, "a"), finds.find(SCHEMA, "c")) == (3, 4)


def test_what_was_found_long_ago_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(early_finds, "RECENT", -1.0)
    client = Client()
    finds = EarlyFinds(client, [(LABEL, "a")])
    assert finds.find(LABEL, "a") in (1, 2)
    assert client.asked[-1] == (LABEL, "a")


def test_an_error_is_raised_where_the_record_is_needed():
    finds = EarlyFinds(Client(), [(LABEL, "away")])
    with pytest.raises(ServiceUnavailableError):
        finds.find(LABEL, "away")


def test_no_request_goes_on_once_it_is_closed():
    client = Client(together=2)
    finds = EarlyFinds(client, [(LABEL, "a")])
    while not client._meeting.n_waiting:
        time.sleep(0.001)
    threading.Timer(0.05, client._meeting.wait).start()
    finds.close()
    assert client.asked == [(LABEL, "a")]
