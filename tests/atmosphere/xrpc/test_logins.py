"""A login that is refused: by what, and what is held back."""

import base64
import json
import time

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.common import retry_after
from atdata_core.errors import LoginError, RateLimitedError, ServiceRefusedError

SERVICE = "https://pds.example"
DID = "did:plc:abcdefghijklmnopqrstuvwx"
URI = f"at://{DID}/a.b.c/d"
RECORD = {"uri": URI, "cid": "bafy", "value": {"a": 1}}


def session(**more):
    claims = json.dumps({"sub": DID, "exp": int(time.time()) + 10**6}).encode()
    token = f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"
    return {"did": DID, "handle": "dora.test", "accessJwt": token, "refreshJwt": token, **more}


def refusal(status, name, message="no", **headers):
    return httpx.Response(status, json={"error": name, "message": message}, headers=headers)


class Service(httpx.MockTransport):
    """Answers by method; a login also by the account. ``asked`` keeps the methods."""

    def __init__(self, **answers):
        self.answers = {"getRecord": httpx.Response(200, json=RECORD), **answers}
        self.asked = []
        super().__init__(self.answer)

    def answer(self, request):
        method = request.url.path.rpartition(".")[2]
        self.asked.append(method)
        who = json.loads(request.content).get("identifier") if method == "createSession" else None
        return self.answers.get(who) or self.answers[method]

    def client(self):
        return AtmosphereClient(SERVICE, transport=self)


def failed_login(answer):
    client = Service(createSession=answer).client()
    with pytest.raises((LoginError, ServiceRefusedError)) as caught:
        client.login("dora.test", "hunter2-hunter2")
    assert not client.is_authenticated
    return caught.value


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(401, "AuthFactorTokenRequired", "A sign in code has been sent"), r"by e-mail .* app password"),
        (refusal(401, "AccountTakedown", "Account has been taken down"), "dora.test has been taken down"),
        (refusal(400, "AccountDeactivated"), "dora.test is deactivated"),
        (refusal(403, "AccountSuspended"), "dora.test is suspended"),
        (refusal(400, "AccountNotFound"), "does not let dora.test log in.* AccountNotFound"),
        (refusal(400, "InvalidRequest", "Input/x must be y"), "does not let dora.test log in.* Input/x must be y"),
        (httpx.Response(200, json=session(active=False, status="takendown")), "dora.test has been taken down"),
        (httpx.Response(200, json=session(active=False, status="suspended")), "dora.test is suspended"),
        (httpx.Response(200, json=session(active=False, status="deactivated")), "dora.test is deactivated"),
        (httpx.Response(200, json=session(active=False)), "dora.test is not active"),
    ],
)
def test_an_account_that_is_not_let_in_is_told_why_and_not_that_its_password_is_wrong(answer, words):
    error = failed_login(answer)
    assert isinstance(error, LoginError)
    assert (error.service, error.handle) == (SERVICE, "dora.test")
    with pytest.raises(LoginError, match=words):
        raise error
    assert "Wrong" not in str(error)


@pytest.mark.parametrize("status", [401, 403, 407, 451])
def test_a_page_of_a_gateway_is_told_as_one(status):
    page = httpx.Response(status, html="<!doctype html><html><title>Blocked |\n Firewall</title>no")
    error = failed_login(page)
    assert isinstance(error, ServiceRefusedError)
    assert f"{status} no reason given. That is a page (HTML, 'Blocked | Firewall'), which a gateway" in str(error)
    assert "Wrong" not in str(error)


@pytest.mark.parametrize("answer", [{"html": "<p>Log in to this network"}, {"json": {}}])
def test_a_success_that_is_none_of_a_pds_is_told_so_without_the_words_of_another_library(answer):
    error = failed_login(httpx.Response(200, **answer))
    assert "something else than a PDS does" in str(error)
    assert "pydantic" not in str(error)


@pytest.mark.parametrize("body", [b"", b'{"did":', b"{\xff", b"[1", b"[" * 10_000, rb'"\ud800"', b"NaN"])
def test_a_success_of_type_json_that_is_none_is_told_so(body):
    error = failed_login(httpx.Response(200, content=body, headers={"content-type": "application/json"}))
    assert isinstance(error, ServiceRefusedError)
    assert "something else than a PDS does" in str(error)


def test_a_renewal_of_type_json_that_is_none_is_told_as_the_login_is():
    cut = httpx.Response(200, content=b'{"did":', headers={"content-type": "application/json"})
    refused = refusal(400, "ExpiredToken")
    service = Service(
        createSession=httpx.Response(200, json=session()),
        refreshSession=cut,
        createRecord=refused,
        putRecord=refused,
    )
    client = service.client()
    client.login("dora.test", "hunter2-hunter2")
    with pytest.raises((LoginError, ServiceRefusedError)):
        client.create_once("a.b.c", "d", {})
    assert "refreshSession" in service.asked


@pytest.mark.parametrize(("handle", "password"), [("dora\udcff.test", "hunter2"), ("dora.test", "hunter\udce92")])
def test_a_login_of_bytes_that_are_no_text_is_told_so_without_a_request(handle, password):
    service = Service()
    with pytest.raises(LoginError, match="bytes that are no UTF-8"):
        service.client().login(handle, password)
    assert service.asked == []


def test_a_password_that_has_to_be_reset_is_told_as_that():
    error = failed_login(refusal(401, "PasswordResetRequired", "You must reset your password"))
    assert "only after a new password was set" in str(error)
    assert "Wrong" not in str(error)


@pytest.mark.parametrize("name", ["AuthenticationRequired", "AccountNotFound", "PasswordResetRequired"])
def test_of_what_a_service_says_to_a_login_some_hundred_characters_are_shown(name):
    assert len(str(failed_login(refusal(401, name, "password " * 20_000)))) < 800
    assert len(str(failed_login(refusal(401, name * 20_000, "no")))) < 800


def test_a_wrong_password_is_still_told_as_that():
    error = failed_login(refusal(401, "AuthenticationRequired", "Invalid identifier or password"))
    assert "Wrong handle or app password of 'dora.test'" in str(error)


def test_a_handle_without_its_domain_is_told_so_without_a_request():
    service = Service()
    with pytest.raises(LoginError, match=r"no whole handle.* dora\.bsky\.social"):
        service.client().login("dora", "hunter2-hunter2")
    assert service.asked == []


@pytest.mark.parametrize("name", ["AccountDeactivated", "AccountTakedown"])
def test_an_account_that_is_closed_after_its_login_is_told_by_name_at_a_write(name):
    service = Service(createSession=httpx.Response(200, json=session()), putRecord=refusal(401, name))
    client = service.client()
    client.login("dora.test", "hunter2-hunter2")
    with pytest.raises(LoginError, match="deactivated" if name == "AccountDeactivated" else "taken down"):
        client.create_once("a.b.c", "d", {})


def too_many(seconds=80_000, **headers):
    reset = str(int(time.time()) + seconds)
    return refusal(429, "RateLimitExceeded", **{"ratelimit-reset": reset, **headers})


@pytest.mark.parametrize("headers", [{"ratelimit-policy": "10;w=86400"}, {}])
def test_a_limit_of_logins_holds_back_the_logins_of_that_account_alone(headers):
    answers = {"dora.test": too_many(**headers), "emil.test": httpx.Response(200, json=session())}
    service = Service(**answers)
    first = service.client()
    with pytest.raises(RateLimitedError, match=r"no more logins of dora\.test") as caught:
        first.login("dora.test", "hunter2-hunter2")
    assert caught.value.retry_after == pytest.approx(80_000, abs=5)
    assert first.get_record(URI).value == service.client().get_record(URI).value == {"a": 1}
    service.client().login("emil.test", "hunter2-hunter2")
    service.asked.clear()
    with pytest.raises(RateLimitedError):
        service.client().login("@Dora.test", "another-password")
    assert service.asked == []


def test_another_process_knows_the_limit_of_logins(monkeypatch):
    service = Service(**{"dora.test": too_many()})
    with pytest.raises(RateLimitedError):
        service.client().login("dora.test", "hunter2-hunter2")
    # Another process knows what the state folder holds, and nothing else.
    monkeypatch.setattr(retry_after, "ours", retry_after.RetryAfter())
    service.asked.clear()
    for shared in (True, False):
        with pytest.raises(RateLimitedError, match=r"no more logins of dora\.test") as caught:
            service.client().login("dora.test", "hunter2-hunter2", shared=shared)
        assert caught.value.retry_after == pytest.approx(80_000, abs=10)
    assert service.asked == []
    later = time.time() + 80_010
    monkeypatch.setattr(time, "time", lambda: later)
    service.answers["dora.test"] = httpx.Response(200, json=session())
    service.client().login("dora.test", "hunter2-hunter2")
    assert service.asked == ["createSession"]


def test_a_limit_that_another_clock_wrote_holds_back_nothing(monkeypatch):
    service = Service(**{"dora.test": too_many()})
    with pytest.raises(RateLimitedError):
        service.client().login("dora.test", "hunter2-hunter2")
    monkeypatch.setattr(retry_after, "ours", retry_after.RetryAfter())
    earlier = time.time() - 10**6
    monkeypatch.setattr(time, "time", lambda: earlier)
    service.answers["dora.test"] = httpx.Response(200, json=session())
    service.client().login("dora.test", "hunter2-hunter2")


def test_a_limit_of_a_method_holds_back_that_method_alone():
    limit = too_many(900, **{"ratelimit-policy": "3000;w=300"})
    service = Service(listRecords=limit)
    client = service.client()
    with pytest.raises(RateLimitedError):
        client.list_records("a.b.c", repo=DID)
    assert client.get_record(URI).value == {"a": 1}
    with pytest.raises(RateLimitedError, match=r"left alone \(429\) with com\.atproto\.repo\.listRecords"):
        service.client().list_records("a.b.c", repo=DID)
    assert service.asked == ["listRecords", "getRecord"]


def test_a_limit_of_an_accounts_writes_holds_back_no_reading():
    service = Service(createSession=httpx.Response(200, json=session()), putRecord=too_many(900))
    client = service.client()
    client.login("dora.test", "hunter2-hunter2")
    with pytest.raises(RateLimitedError):
        client.create_once("a.b.c", "d", {})
    assert client.get_record(URI).value == {"a": 1}
    with pytest.raises(RateLimitedError, match=rf"with com\.atproto\.repo\.putRecord of {DID} for another"):
        client.create_once("a.b.c", "d", {})
    assert service.asked.count("putRecord") == 1


def test_a_limit_that_names_no_method_or_account_holds_back_the_service():
    service = Service(getRecord=refusal(429, "RateLimitExceeded", **{"retry-after": "900"}))
    with pytest.raises(RateLimitedError):
        service.client().get_record(URI)
    with pytest.raises(RateLimitedError, match=r"left alone \(429\) for another"):
        service.client().list_records("a.b.c", repo=DID)
    assert service.asked == ["getRecord"]
