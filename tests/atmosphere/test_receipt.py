"""Whether the network has seen a record, as an AppView or a relay tells it."""

import http.server
import json
import threading
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from atdata_core.atmosphere import receipt
from atdata_core.atmosphere.receipt import receipt_of

ENTRY = "science.alt.dataset.entry"


@pytest.fixture
def network(monkeypatch):
    """An AppView and a relay in one; ``answers`` are what its queries say, one after the other."""
    answers, asked = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            asked.append((parts.path.rpartition("/")[2], parse_qs(parts.query)))
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            answer = {"error": "NotFound"} if answer is None else answer
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(404 if body.startswith(b'{"error"') else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(receipt, "_PAUSE", 0.01)
        yield f"http://127.0.0.1:{server.server_port}", answers, asked
        server.shutdown()


@pytest.fixture
def record(client):
    return client.create_once(ENTRY, "222222222222a", {"$type": ENTRY, "name": "n"})[0]


def test_where_nobody_is_configured_nobody_is_asked(stranger, record):
    assert receipt_of(record.uri, stranger.client) == receipt.NOT_ASKED


def test_an_appview_is_asked_again_until_it_has_the_very_record(stranger, record, network, monkeypatch):
    url, answers, asked = network
    monkeypatch.setenv("ATDATA_APPVIEW_URL", f"{url}/")
    answers += [None, {"entry": {"uri": record.uri, "cid": "earlier"}}, {"uri": record.uri, "cid": record.cid}]
    found = receipt_of(record.uri, stranger.client, cid=record.cid)
    assert (found.seen, found.said) == (True, f"{url} has seen it.")
    assert asked == [("science.alt.dataset.getEntry", {"uri": [record.uri]})] * 3


@pytest.mark.parametrize("answer", [{}, {"entry": {}}, {"uri": "at://did:plc:x/a.b.c/d"}, ["uri"]])
def test_an_answer_of_an_appview_that_does_not_name_the_record_is_no_receipt(
    stranger, record, network, monkeypatch, answer
):
    url, answers, _ = network
    monkeypatch.setenv("ATDATA_APPVIEW_URL", url)
    answers.append(answer)
    for cid in (None, record.cid):
        found = receipt_of(record.uri, stranger.client, cid=cid, wait=0)
        assert found.seen is False
        assert "has not seen it yet: its answer does not name the record." in found.said


def test_what_its_pds_does_not_have_nobody_has_seen(stranger, record, network, monkeypatch):
    url, answers, asked = network
    monkeypatch.setenv("ATDATA_RELAY_URL", url)
    answers.append({"rev": "7777777777777"})
    never = receipt_of(record.uri.replace("222222222222a", "neverwas"), stranger.client)
    assert (never.seen, "There is no record " in never.said) == (False, True)
    other = receipt_of(record.uri, stranger.client, cid="bafyother")
    assert (other.seen, "another version" in other.said, asked) == (False, True, [])


def test_a_relay_that_proves_records_has_seen_what_it_proves(stranger, record, network, monkeypatch, pds, client):
    url, answers, asked = network
    monkeypatch.setenv("ATDATA_RELAY_URL", url)
    did, collection, rkey = record.uri.removeprefix("at://").split("/")

    def proof():
        params = {"did": did, "collection": collection, "rkey": rkey}
        return httpx.get(f"{pds.url}/xrpc/com.atproto.sync.getRecord", params=params).raise_for_status().content

    before = proof()
    now = client.put_record(ENTRY, rkey, {"$type": ENTRY, "name": "other"})
    answers += [{"error": "RecordNotFound"}, before, proof()]
    assert receipt_of(str(now), stranger.client) == receipt.Receipt(True, f"{url} has seen it.")
    assert [query for query, _ in asked] == ["com.atproto.sync.getRecord"] * 3


def test_of_a_relay_that_tells_revisions_only_no_more_is_said_than_it_knows(stranger, record, network, monkeypatch):
    url, answers, _ = network
    monkeypatch.setenv("ATDATA_RELAY_URL", url)
    present = {"rev": stranger.client.latest_revision(record.uri.split("/")[2])}
    answers += [None, {"rev": "2222222222222"}, None, {"rev": None}, None, present]
    found = receipt_of(record.uri, stranger.client)
    assert found.seen
    assert found.said.startswith(f"{url} tells nothing of single records; it has heard of the account up to ")


@pytest.mark.parametrize("reachable", [True, False])
def test_the_wait_is_bounded_and_what_does_not_answer_is_told_and_raises_nothing(
    stranger, record, network, monkeypatch, reachable
):
    url, answers, asked = network
    monkeypatch.setenv("ATDATA_APPVIEW_URL", url if reachable else "http://127.0.0.1:9")
    answers.append(None)
    found = receipt_of(record.uri, stranger.client, wait=0.05)
    assert found.seen is False
    assert "has not seen it within 0.05 s: it " in found.said
    assert len(asked) == 0 if not reachable else 2 <= len(asked) <= 10
