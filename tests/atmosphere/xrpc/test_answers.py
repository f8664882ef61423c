"""A network that fails, by way of the transport; everything above it is the real code."""

import base64
import json
import pickle
import time
from itertools import product

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.xrpc import account, write_budget
from atdata_core.errors import (
    LoginError,
    RateLimitedError,
    RecordChangedError,
    ServiceRefusedError,
    ServiceUnavailableError,
)

URI = "at://did:plc:abcdefghijklmnopqrstuvwx/a.b.c/d"
DID = "did:plc:abcdefghijklmnopqrstuvwx"


def token(seconds=7200):
    payload = json.dumps({"sub": DID, "exp": int(time.time()) + seconds, "n": time.perf_counter_ns()}).encode()
    return f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.c2ln"


def session(access=None):
    return {"did": DID, "handle": "a.test", "accessJwt": access or token(), "refreshJwt": token(10**6)}


class Network(httpx.MockTransport):
    """Answers of a method, one after the other; the last one stays. ``asked`` keeps the requests."""

    def __init__(self, **answers):
        self.answers = {name: list(given) for name, given in answers.items()}
        self.asked = []
        super().__init__(self.answer)

    def answer(self, request):
        name = request.url.path.rpartition(".")[2]
        self.asked.append((name, request))
        left = self.answers[name]
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    @property
    def names(self):
        return [name for name, _ in self.asked]


@pytest.fixture
def reach():
    """A client on a network."""

    def make(**answers):
        network = Network(createSession=[session()], **answers)
        return AtmosphereClient("https://pds.example", transport=network), network

    return make


def error(status, name="Oops", message="went wrong", **headers):
    names = {key.replace("_", "-"): value for key, value in headers.items()}
    return httpx.Response(status, json={"error": name, "message": message}, headers=names)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.ConnectTimeout("slow"),
        httpx.RemoteProtocolError("dropped"),
        httpx.ReadError("reset"),
        error(500, "InternalServerError"),
        error(502),
        httpx.Response(503, text="<html>"),
    ],
)
def test_what_may_pass_is_told_as_such_with_the_service(reach, answer):
    client, network = reach(getRecord=[answer])
    with pytest.raises(ServiceUnavailableError, match=r"https://pds\.example") as caught:
        client.get_record(URI)
    assert caught.value.transient
    assert isinstance(caught.value, ConnectionError)
    assert pickle.loads(pickle.dumps(caught.value)).service == "https://pds.example"
    assert network.names == ["getRecord"] * 4


FAULTS = [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.ReadError("reset"), error(500)]


@pytest.mark.parametrize("answer", FAULTS)
def test_a_service_that_is_down_at_login_is_no_wrong_password(answer):
    network = Network(createSession=[answer])
    client = AtmosphereClient("https://pds.example", transport=network)
    with pytest.raises(ServiceUnavailableError, match=r"https://pds\.example"):
        client.login("a.test", "secret")
    assert network.names == ["createSession"] * 4


def test_a_write_that_has_waited_for_points_is_sent_with_a_token_that_is_good_then(monkeypatch, state_folder):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "2/100")
    began, passed = time.time(), [0.0]
    first, second = token(), token(2 * 7200)
    monkeypatch.setattr(write_budget, "now", lambda: began + passed[0])
    monkeypatch.setattr(write_budget, "sleep", lambda seconds: passed.__setitem__(0, passed[0] + seconds))
    monkeypatch.setattr(account, "is_near_its_end", lambda access: access == first and passed[0] > 0)
    written = {"uri": URI, "cid": "bafy", "commit": {}}
    network = Network(createSession=[session(first)], refreshSession=[session(second)], putRecord=[written])
    client = AtmosphereClient("https://pds.example", transport=network)
    client.login("a.test", "secret")
    for rkey in "de":
        client.create_once("a.b.c", rkey, {"$type": "a.b.c"})
    sent = [request.headers["authorization"] for name, request in network.asked if name == "putRecord"]
    assert sent == [f"Bearer {first}", f"Bearer {second}"]
    assert network.names.count("refreshSession") == 1


def test_what_passes_within_four_attempts_is_not_noticed(reach, time_passes):
    written = {"uri": URI, "cid": "bafy", "commit": {}}
    network = Network(
        createSession=[*FAULTS[:2], error(429), session(token(60))],
        refreshSession=[*FAULTS[1:], session()],
        putRecord=[error(502), error(429), FAULTS[0], written],
        getRecord=[*FAULTS[:3], {"uri": URI, "cid": "bafy", "value": {}}],
        uploadBlob=[*FAULTS[1:], {"blob": {"size": 1}}],
        deleteRecord=[*FAULTS[1:], {}],
    )
    client = AtmosphereClient("https://pds.example", transport=network)
    client.login("a.test", "secret")
    assert client.create_once("a.b.c", "d", {}) == ((URI, "bafy", {}), True)
    assert client.find_record("a.b.c", "d").cid == "bafy"
    assert client.upload_blob(b"1", "text/plain") == {"size": 1}
    client.delete("a.b.c", "d")
    assert len(network.names) == 6 * 4
    assert len(time_passes.slept) == 6 * 3
    assert all(0.1 < seconds <= 1 for seconds in time_passes.slept)


@pytest.mark.parametrize("status", [429, 503])
def test_no_request_of_any_client_is_sent_before_the_service_asked_for_it(status, time_passes):
    sent = []
    answers = [error(status, retry_after="17"), httpx.Response(200, json=session())]

    def answer(request):
        sent.append(time_passes.now)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    network = httpx.MockTransport(answer)
    AtmosphereClient("https://pds.example", transport=network).login("a.test", "secret")
    assert sent[1] >= sent[0] + 17
    answers[:] = [error(status, retry_after="70")]
    with pytest.raises((RateLimitedError, ServiceUnavailableError), match=r"pds\.example") as caught:
        AtmosphereClient("https://pds.example", transport=network).get_record(URI)
    assert caught.value.retry_after == 70
    for attempt in (lambda client: client.login("a.test", "secret"), lambda client: client.get_record(URI)):
        with pytest.raises(RateLimitedError, match="left alone") as caught:
            attempt(AtmosphereClient("https://pds.example", transport=network))
        assert caught.value.retry_after == pytest.approx(70)
    assert len(sent) == 3
    other = httpx.MockTransport(lambda _: httpx.Response(200, json={"uri": URI, "value": {}}))
    assert AtmosphereClient("https://other.example", transport=other).get_record(URI).uri == URI


def test_too_many_logins_are_told_with_the_time_to_wait():
    network = Network(createSession=[error(429, "RateLimitExceeded", retry_after="17")])
    client = AtmosphereClient("https://pds.example", transport=network)
    with pytest.raises(RateLimitedError) as caught:
        client.login("a.test", "secret")
    assert caught.value.retry_after == 17
    assert network.names == ["createSession"] * 4


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "30"}, 30),
        ({"ratelimit_reset": str(int(time.time()) + 86_400)}, 86_400),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),
        ({"retry_after": "soon", "ratelimit_reset": "later"}, None),
        ({}, None),
    ],
)
def test_a_rate_limit_is_told_with_the_seconds_to_wait(reach, headers, seconds):
    client, _ = reach(putRecord=[error(429, "RateLimitExceeded", **headers)])
    client.login("a.test", "secret")
    with pytest.raises(RateLimitedError) as caught:
        client.create_once("a.b.c", "d", {})
    assert caught.value.transient
    assert caught.value.retry_after == (None if seconds is None else pytest.approx(seconds, rel=0.01))


@pytest.mark.parametrize("status", [400, 403, 404, 413, 501])
def test_what_will_not_pass_is_told_in_the_services_words(reach, status):
    client, _ = reach(putRecord=[error(status, "InvalidRequest", "Record/x must be y")])
    client.login("a.test", "secret")
    kind = ServiceRefusedError if status < 500 else ServiceUnavailableError
    with pytest.raises(kind, match="InvalidRequest: Record/x must be y") as caught:
        client.create_once("a.b.c", "d", {})
    assert caught.value.transient is (status >= 500)


def test_something_else_than_a_pds_is_told_so(reach):
    for answer in (httpx.Response(200, text="<html>hello"), httpx.Response(200, json=[1])):
        client, _ = reach(getRecord=[answer])
        with pytest.raises(ServiceRefusedError, match="right address"):
            client.get_record(URI)
    client, _ = reach(getRecord=[httpx.Response(200, text="[" * 100_000)])
    with pytest.raises(ServiceRefusedError, match="right address"):
        client.get_record(URI)
    client, _ = reach(getRecord=[{"uri": URI}])
    with pytest.raises(ServiceRefusedError, match="no record"):
        client.get_record(URI)


def test_a_refusal_without_a_reason_asks_whether_it_is_a_pds(reach):
    client, _ = reach(getRecord=[httpx.Response(405, text="<html>Method Not Allowed")])
    with pytest.raises(ServiceRefusedError, match=r"405 no reason given\. .* a PDS\? Check ATDATA_PDS_URL"):
        client.get_record(URI)
    page = httpx.MockTransport(lambda _: httpx.Response(405, text="<html>Method Not Allowed"))
    client = AtmosphereClient("https://site.example", transport=page)
    with pytest.raises(ServiceRefusedError, match=r"a PDS\? Check ATDATA_PDS_URL"):
        client.login("a.test", "secret")


def test_an_answer_without_end_is_cut_off(reach):
    class Endless(httpx.SyncByteStream):
        sent = 0

        def __iter__(self):
            while True:
                self.sent += 1 << 20
                yield bytes(1 << 20)

    body = Endless()
    client, _ = reach(getRecord=[httpx.Response(200, stream=body)])
    with pytest.raises(ServiceRefusedError, match="more than"):
        client.get_record(URI)
    assert body.sent <= (1 << 26) + (1 << 20)


def test_a_redirect_is_told_and_not_followed(reach):
    client, network = reach(getRecord=[httpx.Response(302, headers={"location": "http://127.0.0.1:1/x"})])
    with pytest.raises(ServiceRefusedError, match=r"redirects .* 127\.0\.0\.1:1"):
        client.get_record(URI)
    assert len(network.asked) == 1


@pytest.mark.parametrize("url", ["pds.example", "ftp://pds.example", "", "https://user:secret@pds.example"])
def test_a_url_that_is_none_of_a_pds_is_refused_without_showing_it(url, monkeypatch):
    monkeypatch.setenv("ATDATA_PDS_URL", url or "nothing")
    with pytest.raises(ServiceRefusedError, match="ATDATA_PDS_URL") as caught:
        AtmosphereClient()
    assert "secret" not in str(caught.value)


def test_a_token_that_the_service_calls_expired_is_renewed_once_and_the_write_sent_again(reach):
    written = {"uri": URI, "cid": "bafy", "commit": {}}
    client, network = reach(putRecord=[error(400, "ExpiredToken"), written], refreshSession=[session()])
    client.login("a.test", "secret")
    assert client.create_once("a.b.c", "d", {}) == ((URI, "bafy", {}), True)
    assert network.names == ["createSession", "putRecord", "refreshSession", "putRecord"]
    before, after = (network.asked[n][1].headers["authorization"] for n in (1, 3))
    assert before != after


def test_a_token_near_its_end_is_renewed_before_it_is_used(reach):
    network = Network(
        createSession=[session(token(60))], refreshSession=[session()], putRecord=[{"uri": URI, "cid": "c"}]
    )
    client = AtmosphereClient("https://pds.example", transport=network)
    client.login("a.test", "secret")
    client.create_once("a.b.c", "d", {})
    client.create_once("a.b.c", "d", {})
    assert network.names == ["createSession", "refreshSession", "putRecord", "putRecord"]


@pytest.mark.parametrize(
    "answers",
    [
        {"putRecord": [error(401, "AuthMissing")]},
        {"putRecord": [error(400, "InvalidToken")]},
        {"putRecord": [error(400, "ExpiredToken")], "refreshSession": [session()]},
        {"putRecord": [error(400, "ExpiredToken")], "refreshSession": [error(400, "ExpiredToken")]},
    ],
)
def test_a_session_that_has_ended_asks_for_a_login(reach, answers):
    client, _ = reach(**answers)
    client.login("a.test", "secret")
    with pytest.raises(LoginError, match="has ended"):
        client.create_once("a.b.c", "d", {})


def test_no_error_shows_a_part_of_a_password_where_a_long_message_is_cut():
    password = "".join(chr(ord("a") + number) for number in range(16))
    for before, status in product(range(285, 305), (400, 401, 500)):
        network = Network(createSession=[error(status, "E", "x" * before + password)])
        with pytest.raises((LoginError, ServiceRefusedError, ServiceUnavailableError)) as caught:
            AtmosphereClient("https://pds.example", transport=network).login("a.test", password)
        assert "xxx" in str(caught.value), before
        assert password[:2] not in str(caught.value), before


def test_no_error_shows_a_password_or_token(reach):
    shown = []
    echo = "you sent hunter2 and {}"
    for status in (400, 401, 429, 500):
        client = AtmosphereClient(
            "https://pds.example", transport=Network(createSession=[error(status, "E", echo.format("x"))])
        )
        with pytest.raises(Exception, match=r"pds\.example") as caught:
            client.login("a.test", "hunter2")
        shown.append(caught.value)
    for found in shown:
        assert "hunter2" not in f"{found} {found!r} {found.facts}"
    client, _ = reach(putRecord=[error(500)])
    client.login("a.test", "hunter2")
    access = client.export_session().split(":::")[2]
    with pytest.raises(ServiceUnavailableError) as caught:
        client.create_once("a.b.c", "d", {})
    assert access not in f"{caught.value} {caught.value!r} {caught.value.facts} {client!r} {client._session!r}"


@pytest.mark.parametrize("existing", ["x", "before"])
def test_a_create_whose_answer_is_lost_is_adopted(reach, existing):
    record = {"$type": "a.b.c", "createdAt": "x"}
    client, network = reach(
        putRecord=[httpx.ReadTimeout("lost"), error(400, "InvalidSwap")],
        getRecord=[{"uri": URI, "cid": "bafy", "value": {**record, "createdAt": existing}}],
    )
    client.login("a.test", "secret")
    found, made = client.create_once("a.b.c", "d", record)
    assert (found.value["createdAt"], made) == (existing, False)
    assert network.names == ["createSession", "putRecord", "putRecord", "getRecord"]


def test_a_replacement_whose_answer_is_lost_is_known_by_reading_it_back(reach):
    record = {"$type": "a.b.c", "createdAt": "x", "n": 1}
    client, network = reach(
        putRecord=[httpx.ReadError("reset"), error(400, "InvalidSwap")],
        getRecord=[{"uri": URI, "cid": "new", "value": record}],
    )
    client.login("a.test", "secret")
    assert client.replace("a.b.c", "d", record, swap="old") == (URI, "new", record)
    assert network.names == ["createSession", "putRecord", "putRecord", "getRecord"]


@pytest.mark.parametrize(
    ("there", "fields"), [({"n": 2, "createdAt": "x"}, ["n"]), ({"n": 1, "createdAt": "y"}, [])]
)
def test_a_replacement_that_was_refused_is_not_taken_for_one_whose_answer_is_lost(reach, there, fields):
    client, _ = reach(
        putRecord=[httpx.ReadError("reset"), error(400, "InvalidSwap")],
        getRecord=[{"uri": URI, "cid": "new", "value": there}],
    )
    client.login("a.test", "secret")
    with pytest.raises(RecordChangedError) as caught:
        client.replace("a.b.c", "d", {"n": 1, "createdAt": "x"}, swap="old")
    assert caught.value.fields == fields


def test_a_write_says_null_where_nothing_may_be_and_sends_the_record_as_it_is(reach):
    client, network = reach(putRecord=[{"uri": URI, "cid": "c"}])
    client.login("a.test", "secret")
    record = {"$type": "a.b.c", "raw": {"$bytes": "AP8"}, "text": "ü\u2028"}
    client.create_once("a.b.c", "d", record)
    body = json.loads(network.asked[-1][1].content)
    assert body == {"repo": DID, "collection": "a.b.c", "rkey": "d", "record": record, "swapRecord": None}
    assert "ü".encode() in network.asked[-1][1].content
