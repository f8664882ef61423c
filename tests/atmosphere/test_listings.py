"""Listings and answers of a PDS that would go on for ever."""

import itertools
import time

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.atmosphere import client as client_module
from atdata_core.atmosphere.record_batches import BatchWriter
from atdata_core.errors import ServiceRefusedError, ServiceUnavailableError

DID = "did:plc:abcdefghijklmnopqrstuvwx"


def record(key):
    return {"uri": f"at://{DID}/a.b.c/{key}", "cid": "bafy", "value": {"$type": "a.b.c"}}


class Listing(httpx.MockTransport):
    """Pages made by a function of their number, from 0 on; counts those that are asked for."""

    def __init__(self, page):
        self.asked = 0
        self._page = page
        super().__init__(self.answer)

    def answer(self, request):
        self.asked += 1
        return httpx.Response(200, json=self._page(self.asked - 1))

    @property
    def client(self):
        return AtmosphereClient("https://pds.example", transport=self)


ENDLESS = {
    "the same page and cursor": lambda _: {"records": [record("x"), record("y")], "cursor": "y"},
    "the same page under other cursors": lambda n: {"records": [record("x")], "cursor": str(n)},
    "pages in a circle": lambda n: {"records": [record(n % 3)], "cursor": str(n % 3)},
}


@pytest.mark.parametrize("page", ENDLESS.values(), ids=ENDLESS)
def test_a_listing_that_brings_nothing_new_ends_with_an_error_that_names_it(page):
    listing = Listing(page)
    with pytest.raises(ServiceRefusedError, match=rf"a\.b\.c in {DID} gives records that it gave before") as caught:
        list(listing.client.iter_records("a.b.c", repo=DID))
    assert caught.value.service == "https://pds.example"
    assert listing.asked <= 4
    with pytest.raises(ServiceRefusedError, match="no end"):
        AtmosphereIndex(Listing(page).client).list_datasets(DID)


def test_a_listing_of_ever_new_records_ends_after_so_many_pages(monkeypatch):
    monkeypatch.setattr(client_module, "MAX_PAGES", 20)
    listing = Listing(lambda n: {"records": [record(n)], "cursor": str(n)})
    with pytest.raises(ServiceRefusedError, match="goes on after 20 pages"):
        list(listing.client.iter_records("a.b.c", repo=DID))
    assert listing.asked == 20


def test_a_listing_whose_last_page_has_a_cursor_is_whole():
    pages = [[record("c"), record("b")], [record("b"), record("a")], []]
    listing = Listing(lambda n: {"records": pages[n], "cursor": "x"})
    found = [each.uri[-1] for each in listing.client.iter_records("a.b.c", repo=DID)]
    assert found == ["c", "b", "b", "a"]


@pytest.mark.parametrize("empty", [1, 7])
def test_records_behind_empty_pages_are_seen(empty):
    listing = Listing(
        lambda n: (
            {"records": [record(n)] if n % (empty + 1) == 0 else [], "cursor": str(n)}
            if n <= 2 * (empty + 1)
            else {"records": []}
        )
    )
    found = [each.uri.rpartition("/")[2] for each in listing.client.iter_records("a.b.c", repo=DID)]
    assert found == [str(n * (empty + 1)) for n in range(3)]


@pytest.mark.parametrize("cursor", [5, 0, True, {"after": "x"}])
def test_a_cursor_that_is_no_text_is_refused_and_not_taken_for_the_end(cursor):
    listing = Listing(lambda n: {"records": [record(n)], "cursor": cursor})
    with pytest.raises(ServiceRefusedError, match="did not answer as a PDS does"):
        list(listing.client.iter_records("a.b.c", repo=DID))


@pytest.mark.parametrize("end", [{}, {"cursor": None}, {"cursor": ""}])
def test_a_listing_ends_where_no_cursor_is_given(end):
    listing = Listing(lambda n: {"records": [record(n)], **end})
    assert len(list(listing.client.iter_records("a.b.c", repo=DID))) == listing.asked == 1


@pytest.mark.parametrize("cursors", [str, lambda n: str(n % 2)], ids=["ever new", "in a circle"])
def test_a_listing_of_nothing_but_empty_pages_ends_with_an_error_that_names_it(cursors):
    listing = Listing(lambda n: {"records": [], "cursor": cursors(n)})
    with pytest.raises(ServiceRefusedError, match=rf"a\.b\.c in {DID} gives more than 100 empty pages in a row"):
        list(listing.client.iter_records("a.b.c", repo=DID))
    assert listing.asked == 101


def in_pages(*pages):
    """A client whose account has these keys, in pages that a PDS has left some records out of."""

    def answer(request):
        name = request.url.path.rpartition(".")[2]
        if name == "getLatestCommit":
            return httpx.Response(200, json={"cid": "bafyhead", "rev": "1"})
        if name == "getRecord":
            return httpx.Response(400, json={"error": "RecordNotFound", "message": "none"})
        asked.append(request)
        at = int(request.url.params.get("cursor", "p0").removeprefix("p"))
        more = {"cursor": f"p{at + 1}"} if at + 1 < len(pages) else {}
        return httpx.Response(200, json={"records": [record(key) for key in pages[at]], **more})

    asked = []
    client = AtmosphereClient("https://pds.example", transport=httpx.MockTransport(answer))
    client._session.account.did = DID
    return client, asked


@pytest.mark.parametrize("pages", [[["x"], ["k7"]], [[], ["k7"]]], ids=["short", "empty"])
def test_a_batch_goes_on_behind_a_page_that_records_were_left_out_of(pages):
    client, asked = in_pages(*pages)
    writer = BatchWriter(client)
    writer.read([("a.b.c", f"k{number}") for number in range(30)])
    assert writer.find(("a.b.c", "k7")) is not None
    assert len(asked) == 2


class Trickle(httpx.SyncByteStream):
    """A body that never ends, and never is silent for long."""

    def __iter__(self):
        for _ in itertools.count():
            time.sleep(0.01)
            yield b" "


class Flood(httpx.SyncByteStream):
    """A body that never ends, as fast as it is taken."""

    def __iter__(self):
        yield from itertools.repeat(bytes(1 << 20))


@pytest.mark.parametrize("act", ["login", "get_record"])
def test_an_answer_that_trickles_is_given_up_and_named(act):
    network = httpx.MockTransport(lambda _: httpx.Response(200, stream=Trickle()))
    client = AtmosphereClient("https://pds.example", transport=network, timeout=0.05)
    with pytest.raises(ServiceUnavailableError, match=r"pds\.example .* its answer trickles, \d+ bytes"):
        client.login("a.test", "hunter2-hunter2") if act == "login" else client.get_record(f"at://{DID}/a.b.c/d")


@pytest.mark.parametrize("status", [200, 401])
def test_an_answer_to_a_login_that_has_no_end_is_cut_off(status):
    network = httpx.MockTransport(lambda _: httpx.Response(status, stream=Flood()))
    with pytest.raises(ServiceRefusedError, match="more than 67,108,864 bytes"):
        AtmosphereClient("https://pds.example", transport=network).login("a.test", "hunter2-hunter2")
