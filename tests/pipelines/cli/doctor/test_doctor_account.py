"""What ``atdata-pipelines doctor`` says of a PDS, an account and clocks that are not as they should be."""

import json
import time
from email.utils import formatdate

import pytest

from atdata_pipelines.config import environment
from faulty.edge import Fault, Rule, Tally
from faulty.messages import Answer

# -- the PDS, the clock, time -----------------------------------------------------------------------------------


def test_a_wrong_password_is_told_and_not_shown(doctor, account_environ, monkeypatch):
    monkeypatch.setenv("ATDATA_APP_PASSWORD", "hunter2-hunter2")
    found = doctor("login")
    assert (found.only("pds").state, found.only("login").state) == ("ok", "error")
    assert "Wrong handle or app password" in found.only("login").found
    assert "hunter2" not in found.only("login").found
    assert doctor("identity").only("identity").state == "ok"


def test_the_session_of_this_machine_is_asked_not_another_one_begun(doctor, account_environ, edge, monkeypatch):
    class AtHome(Tally):
        """The account's own PDS is the proxy."""

        def answered(self, call, answer):
            body = answer.body.replace(account_environ["ATDATA_PDS_URL"].encode(), edge.urls["pds"].encode())
            return Answer(answer.status, answer.headers, body)

    edge.rule = tally = AtHome()
    monkeypatch.setenv("ATDATA_PDS_URL", edge.urls["pds"])
    for _ in range(3):
        environment.logged_in.cache_clear()  # as in a process of its own
        assert doctor("login").only("login").state == "ok"
    asked = [call.path.rpartition(".")[2] for call in tally.at("pds")]
    assert (asked.count("createSession"), asked.count("getSession")) == (1, 3)


@pytest.mark.parametrize("url", ["public", "s3", "http://127.0.0.1:1"])
def test_an_address_that_is_no_pds_is_an_error_and_no_login_is_tried(
    doctor, account_environ, box, monkeypatch, url
):
    places = {"public": box.public_url, "s3": box.s3["AWS_ENDPOINT"]}
    monkeypatch.setenv("ATDATA_PDS_URL", places.get(url, url))
    found = doctor("login", "identity")
    assert found.only("pds").state == "error"
    assert found.only("pds").mend.startswith("ATDATA_PDS_URL is the address of a PDS")
    assert {found.only("login").state, found.only("identity").state} == {"skipped"}


def test_an_account_that_the_network_finds_elsewhere_is_an_error(doctor, account_environ, edge, monkeypatch):
    class Moved(Rule):
        """The directory names a PDS that the login does not lead to."""

        def asked(self, call):
            if not call.path.startswith("/did:"):
                return None
            service = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer"}
            document = {"id": call.path[1:], "service": [{**service, "serviceEndpoint": "https://old.example"}]}
            return Answer(200, {"content-type": "application/json"}, json.dumps(document).encode())

    assert doctor("login", "identity").only("identity").state == "ok"
    edge.rule = Moved()
    monkeypatch.setenv("ATDATA_PLC_URL", edge.urls["pds"])
    moved = doctor("login", "identity").only("identity")
    assert moved.state == "error"
    assert "is found at https://old.example, but the login leads to" in moved.found


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(503, {"date": "no date"}), "fails: HTTP 503"),
        (Answer(200, {"content-type": "text/html"}, b"<html>"), "is no PDS: HTTP 200"),
        (Answer(200, {"content-type": "application/json"}, b'{"did": "did:web:x.test"}'), "is no PDS: HTTP 200"),
    ],
    ids=["fails", "a-page", "another-service"],
)
def test_an_answer_that_no_pds_gives_is_told(doctor, account_environ, edge, monkeypatch, answer, said):
    class Otherwise(Rule):
        def asked(self, call):
            return answer

    monkeypatch.setenv("ATDATA_PDS_URL", edge.urls["pds"])
    edge.rule = Otherwise()
    found = doctor("pds", "clock")
    assert (found.only("pds").state, said in found.only("pds").found) == ("error", True)
    assert found.only("clock").state == "skipped"


def test_a_handle_that_leads_to_another_account_than_the_login_is_an_error(
    doctor, account_environ, box, edge, monkeypatch
):
    class Misled(Rule):
        def asked(self, call):
            if "resolveHandle" not in call.path:
                return None
            return Answer(200, {"content-type": "application/json"}, json.dumps({"did": box.did}).encode())

    monkeypatch.setenv("ATDATA_PDS_URL", edge.urls["pds"])
    edge.rule = Misled()
    finding = doctor("login", "identity").only("identity")
    assert finding.state == "error"
    assert finding.found.startswith(f"the handle leads to {box.did}, but the login to did:plc:")
    monkeypatch.setenv("ATDATA_APP_PASSWORD", "wrong")
    unknown = doctor("login", "identity").only("identity")
    assert unknown.state == "skipped"
    assert "is not known: see login" in unknown.found


class Late(Rule):
    """Services whose clocks are half an hour behind."""

    def __init__(self, seconds):
        self.seconds = seconds

    def answered(self, call, answer):
        date = formatdate(time.time() + self.seconds, usegmt=True)
        return Answer(answer.status, {**answer.headers, "date": date}, answer.body)


@pytest.mark.parametrize(("seconds", "way"), [(-1800, "behind"), (120, "ahead of")])
def test_a_clock_that_is_off_is_an_error(doctor, account_environ, edge, monkeypatch, seconds, way):
    monkeypatch.setenv("ATDATA_PDS_URL", edge.urls["pds"])
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", edge.urls["s3"])
    edge.rule = Late(seconds)
    *wrong, right = doctor("redis", "s3", "pds", "clock").of("clock")
    assert [(finding.state, way in finding.found) for finding in wrong] == [("error", True)] * 2
    assert (right.state, right.found) == ("ok", "within 60 s of Redis")


def test_no_clock_is_looked_at_where_nobody_tells_the_time(doctor):
    assert doctor("clock").only("clock").state == "skipped"


@pytest.mark.parametrize(("service", "variable"), [("pds", "ATDATA_PDS_URL"), ("s3", "ATDATA_S3_ENDPOINT")])
def test_a_service_that_is_silent_is_soon_given_up(doctor, account_environ, edge, monkeypatch, service, variable):
    class Silent(Rule):
        def asked(self, call):
            return Fault.SILENCE

    edge.rule = Silent()
    monkeypatch.setenv(variable, edge.urls[service])
    assert "does not answer" in doctor(service).only(service).found
