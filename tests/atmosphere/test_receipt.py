"""Whether the network has seen a record, as an AppView or a relay tells it."""

import contextlib
import http.server
import json
import threading
import time
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
            if callable(answer):
                answer(self.wfile.write)
                return
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


UNNAMED = "its answer does not name the record"
OTHER = "at://did:plc:other/science.alt.dataset.entry/222222222222a"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({}, UNNAMED),
        ({"entry": {}}, UNNAMED),
        ({"cid": "{cid}"}, UNNAMED),
        ({"uri": OTHER, "cid": "{cid}"}, UNNAMED),
        ({"uri": ["{uri}"], "cid": "{cid}"}, UNNAMED),
        ({"uri": "{uri}"}, "it answers about the record, but not which version it has"),
        ({"entry": {"uri": "{uri}", "cid": None}}, "it answers about the record, but not which version it has"),
        ({"uri": "{uri}", "cid": "earlier"}, "it has another version of the record"),
        (["uri"], "its answer is malformed"),
        (b"<html>", "its answer is malformed"),
    ],
)
def test_an_answer_of_an_appview_that_does_not_name_this_version_of_the_record_is_no_receipt(
    stranger, record, network, monkeypatch, answer, why
):
    url, answers, _ = network
    monkeypatch.setenv("ATDATA_APPVIEW_URL", url)
    filled = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    answers.append(filled.replace(b"{uri}", record.uri.encode()).replace(b"{cid}", record.cid.encode()))
    for cid in (None, record.cid):
        found = receipt_of(record.uri, stranger.client, cid=cid, wait=0)
        assert (found.seen, found.said) == (
            False,
            f"{url} has not confirmed it yet: {why}. Look again later: verify.",
        )


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


@pytest.mark.parametrize("answer", [{"rev": ["x"]}, {"rev": "x"}, {}, ["rev"], b"\xff"])
def test_a_malformed_answer_of_a_relay_is_told_as_one(stranger, record, network, monkeypatch, answer):
    url, answers, _ = network
    monkeypatch.setenv("ATDATA_RELAY_URL", url)
    answers += [None, answer]
    found = receipt_of(record.uri, stranger.client, wait=0)
    assert (found.seen, "yet: its answer is malformed. Look" in found.said) == (False, True)


def in_pieces(beginning: bytes, piece: bytes, pause: float, most: int):
    """An answer of many pieces, and how many bytes of it were taken."""
    sent = []

    def answer(write):
        with contextlib.suppress(OSError):
            write(beginning)
            while len(sent) < most:
                write(piece)
                sent.append(len(piece))
                time.sleep(pause)

    return answer, sent


@pytest.mark.parametrize("service", ["ATDATA_APPVIEW_URL", "ATDATA_RELAY_URL"])
@pytest.mark.parametrize(
    "beginning",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: ", b""],
    ids=["its body", "a header", "hints"],
)
def test_an_answer_that_drips_is_waited_for_no_longer_than_one_look_takes(
    stranger, record, network, monkeypatch, service, beginning
):
    """Quicker than what is taken for a trickle."""
    url, answers, _ = network
    monkeypatch.setenv(service, url)
    monkeypatch.setattr(receipt, "_TIMEOUT", 0.3)
    piece = b"x" * 1000 if beginning else b"HTTP/1.1 100 Continue\r\n\r\n" * 40
    answers.append(in_pieces(beginning, piece, 0.02, 150)[0])
    began = time.monotonic()
    found = receipt_of(record.uri, stranger.client, wait=0)
    assert time.monotonic() - began < 1
    assert (found.seen, "yet: it does not answer (ReadTimeout)." in found.said) == (False, True)


def test_of_an_answer_without_end_no_more_is_read_than_an_answer_has(stranger, record, network, monkeypatch):
    url, answers, _ = network
    monkeypatch.setenv("ATDATA_APPVIEW_URL", url)
    answer, sent = in_pieces(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (1 << 20), 0, 400)
    answers.append(answer)
    found = receipt_of(record.uri, stranger.client, wait=0)
    assert (found.seen, "yet: its answer has more than 1,048,576 bytes." in found.said) == (False, True)
    # What lies in the buffers of the connection was sent, too.
    assert len(sent) < 20


@pytest.mark.parametrize("reachable", [True, False])
def test_the_wait_is_bounded_and_what_does_not_answer_is_told_and_raises_nothing(
    stranger, record, network, monkeypatch, reachable
):
    url, answers, asked = network
    monkeypatch.setenv("ATDATA_APPVIEW_URL", url if reachable else "http://127.0.0.1:9")
    answers.append(None)
    found = receipt_of(record.uri, stranger.client, wait=0.05)
    assert found.seen is False
    assert "has not confirmed it within 0.05 s: it " in found.said
    assert len(asked) == 0 if not reachable else 2 <= len(asked) <= 10
