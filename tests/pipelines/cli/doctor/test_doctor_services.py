"""What ``atdata-pipelines doctor`` says of Redis and S3 that are not as they should be."""

import re

import pytest
import redis

from faulty.edge import Rule
from faulty.messages import Answer
from faulty.s3_services import ObjectLock, refusal
from faulty.valkey import Valkey

# -- Redis ------------------------------------------------------------------------------------------------------


@pytest.fixture
def valkey(tmp_path, environ, monkeypatch):
    """A server with options of its own."""
    servers = []

    def start(*options):
        server = Valkey(tmp_path, options)
        servers.append(server)
        monkeypatch.setenv("ATDATA_REDIS_URL", server.url)
        return server

    yield start
    for server in servers:
        server.kill()


def test_a_redis_that_forgets_is_an_error_and_one_that_may_forget_leases_a_warning(doctor, valkey):
    server = valkey("--maxmemory-policy", "allkeys-lru", "--appendonly", "no", "--save", "")
    found = doctor("redis memory", "redis storage")
    assert found.only("redis").state == "ok"
    assert re.search("is Valkey [0-9]", found.only("redis").found)
    assert (found.only("redis memory").state, found.only("redis storage").state) == ("error", "error")
    assert "noeviction" in found.only("redis memory").mend
    assert "appendonly yes" in found.only("redis storage").mend
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "volatile-lru")
        client.config_set("save", "3600 1")
        assert doctor("redis storage").only("redis storage").state == "warning"
        client.config_set("appendonly", "yes")
    found = doctor("redis memory", "redis storage")
    assert (found.only("redis memory").state, found.only("redis storage").state) == ("warning", "ok")


@pytest.mark.parametrize(("allowed", "state"), [("+config|get", "ok"), ("-config", "warning")])
def test_a_redis_that_does_not_tell_its_settings_is_a_warning(doctor, valkey, monkeypatch, allowed, state):
    server = valkey("--maxmemory-policy", "noeviction")
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "lab", "on", ">hunter22", "~*", "&*", "+@all", "-info", allowed)
    monkeypatch.setenv("ATDATA_REDIS_URL", server.url.replace("//", "//lab:hunter22@"))
    found = doctor("redis memory", "redis storage")
    assert found.only("redis").state == "warning"
    assert {found.only("redis memory").state, found.only("redis storage").state} == {state}
    monkeypatch.setenv("ATDATA_REDIS_URL", server.url.replace("//", "//lab:wrong-one@"))
    refused = doctor("redis").only("redis")
    assert refused.state == "error"
    assert "refused" in refused.found
    assert "wrong-one" not in refused.found


def test_a_redis_that_is_too_old_is_an_error(doctor, environ, monkeypatch):
    monkeypatch.setattr("atdata_pipelines.cli.doctor.redis_check.OLDEST", (99, 0))
    finding = doctor("redis").only("redis")
    assert (finding.state, finding.mend) == ("error", "Use Redis 99.0 or newer, or Valkey.")


# -- S3 ---------------------------------------------------------------------------------------------------------


def test_wrong_keys_and_an_address_that_is_no_s3_service_are_told_apart(doctor, lab, box, monkeypatch):
    assert doctor("s3").only("s3").state == "ok"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong" * 8)
    wrong = doctor("shards")
    assert wrong.only("s3").state == "error"
    assert "does not accept the keys (SignatureDoesNotMatch)" in wrong.only("s3").found
    assert wrong.only("shards").state == "skipped"
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", box.pds_url)
    assert "answered 404, not as an S3 service does" in doctor("s3").only("s3").found
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", "http://127.0.0.1:1")
    assert "does not answer" in doctor("s3").only("s3").found
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", "127.0.0.1")
    assert doctor("s3").only("s3").state == "error"


def test_without_keys_and_address_nothing_is_asked(doctor, environ, monkeypatch):
    for name in ("ATDATA_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    found = doctor("shards")
    assert (found.only("s3").state, found.only("shards").state) == ("ok", "ok")
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", "http://127.0.0.1:1")
    assert "there are no keys" in doctor("s3").only("s3").found


def test_the_bucket_of_the_first_datasets_is_read(doctor, lab):
    assert "no shards in S3" in doctor("shards").only("shards").found
    lab.register("a-lost", f"s3://{lab.bucket}/lost.tar")
    lost = doctor("shards").only("shards")
    assert (lost.state, f"s3://{lab.bucket}/lost.tar does not exist" in lost.found) == ("warning", True)
    lab.insert("pictures")
    assert f"the bucket {lab.bucket} can be read" in doctor("shards").only("shards").found
    lab.register("a-moved", "s3://never-made/lost.tar")
    here, moved = doctor("shards").of("shards")
    assert (here.state, moved.state) == ("ok", "error")
    assert "There is no bucket 'never-made'" in moved.found


@pytest.mark.parametrize(
    ("turned_away", "state"),
    [(lambda call: True, "error"), (lambda call: "authorization" in call.headers, "ok")],
    ids=["everybody", "these-keys"],
)
def test_shards_that_these_keys_may_not_read_are_an_error_unless_anybody_may(
    doctor, lab, edge, monkeypatch, turned_away, state
):
    class Closed(Rule):
        def asked(self, call):
            if call.method != "HEAD":
                return None
            return Answer(403) if turned_away(call) else Answer(200, {"content-length": "5"})

    lab.insert("pictures")
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", edge.urls["s3"])
    edge.rule = Closed()
    finding = doctor("shards").only("shards")
    assert finding.state == state
    assert ("s3:GetObject" in finding.mend) == (state == "error")


def test_a_service_that_says_that_clocks_differ_leads_to_the_clock(doctor, lab, edge, monkeypatch):
    class Skewed(Rule):
        def asked(self, call):
            body = b"<Error><Code>RequestTimeTooSkewed</Code></Error>"
            return Answer(403, {"content-type": "application/xml", "date": "Thu, 01 Jan 2015 00:00:00 GMT"}, body)

    monkeypatch.setenv("ATDATA_S3_ENDPOINT", edge.urls["s3"])
    edge.rule = Skewed()
    found = doctor("s3", "clock")
    assert (found.only("s3").state, found.only("s3").mend) == ("error", "See clock.")
    assert "behind this machine's" in found.only("clock").found


def test_an_expired_token_is_told_where_only_shards_show_it(doctor, lab, edge, monkeypatch):
    class Expired(Rule):
        def asked(self, call):
            return refusal(400, "ExpiredToken") if "authorization" in call.headers and call.path != "/" else None

    lab.insert("pictures")
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", edge.urls["s3"])
    edge.rule = Expired()
    assert "session token" in doctor("shards").only("shards").found


def test_a_bucket_to_publish_to_that_has_object_lock_is_well(doctor, lab, edge, published, monkeypatch):
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", edge.urls["s3"])
    edge.rule = ObjectLock()
    assert doctor("publish bucket").only("publish bucket").state == "ok"


def test_a_bucket_to_publish_to_that_is_missing_says_how_it_is_made(doctor, lab, monkeypatch):
    monkeypatch.setenv("ATDATA_PUBLISH_BUCKET", "never-made")
    finding = doctor("publish bucket").only("publish bucket")
    assert finding.state == "error"
    assert "aws s3 mb s3://never-made" in finding.found
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    assert "ATDATA_PUBLISH_ACCESS_KEY_ID is not set" in doctor("publish bucket").only("publish bucket").found


def test_a_public_url_is_right_wrong_silent_or_private(doctor, lab, published, box, objects, monkeypatch):
    well = doctor("publish bucket")
    assert (well.only("publish bucket").state, well.only("public url").state) == ("ok", "ok")
    assert "serves the bucket to anybody" in well.only("public url").found
    for url, said in [
        (f"{box.public_url}/elsewhere", "answers 404"),
        ("http://127.0.0.1:1/x", "cannot be read"),
        (f"{box.pds_url}/xrpc/_health?x=", "no address"),
    ]:
        monkeypatch.setenv("ATDATA_PUBLISH_PUBLIC_URL", url)
        [wrong] = [finding for finding in doctor("publish bucket").all if finding.state == "error"]
        assert said in wrong.found, url
    monkeypatch.setenv("ATDATA_PUBLISH_PUBLIC_URL", f"{box.public_url}/{published}")
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", "")
    private = doctor("publish bucket").only("public url")
    assert private.state == "warning"
    assert "only this network reaches" in private.found
    monkeypatch.delenv("ATDATA_PUBLISH_PUBLIC_URL")
    assert "cannot be read anonymously" in doctor("publish bucket").only("public url").found
    assert not [key for key in objects(published) if key.startswith("atdata-doctor/")]


class Refusing(Rule):
    """S3 that takes one method of some paths for forbidden, or gives another body."""

    def __init__(self, method, answer):
        self.method, self.answer = method, answer

    def asked(self, call):
        return self.answer if call.method == self.method and "atdata-doctor" in call.path else None


DENIED = Answer(403, {"content-type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")


@pytest.mark.parametrize(
    ("method", "answer", "state", "said"),
    [
        ("PUT", DENIED, "error", "may not be read or written"),
        ("DELETE", DENIED, "warning", "could not be removed"),
        ("GET", Answer(200, {"etag": '"x"'}, b"other"), "error", "gives other bytes"),
    ],
)
def test_rights_that_are_missing_are_named(doctor, published, edge, monkeypatch, method, answer, state, said):
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", edge.urls["s3"])
    edge.rule = Refusing(method, answer)
    [problem] = [finding for finding in doctor("publish bucket").of("publish bucket") if finding.state != "ok"]
    assert (problem.state, said in problem.found) == (state, True), problem


def test_a_bucket_that_may_not_be_listed_is_a_warning_and_one_for_all_needs_no_public_url(
    doctor, published, edge, monkeypatch
):
    class Open(Rule):
        def asked(self, call):
            if "list-type=2" in call.path:
                return DENIED
            if call.method == "HEAD" and "authorization" not in call.headers:
                return Answer(200, {"content-length": "5"})
            return None

    monkeypatch.setenv("ATDATA_S3_ENDPOINT", edge.urls["s3"])
    monkeypatch.delenv("ATDATA_PUBLISH_PUBLIC_URL")
    edge.rule = Open()
    found = doctor("publish bucket")
    assert [finding.state for finding in found.of("publish bucket")] == ["warning", "ok"]
    assert "can be read anonymously" in found.only("public url").found
