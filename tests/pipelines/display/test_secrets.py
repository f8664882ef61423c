"""Services that repeat every secret they were sent: nothing of it is kept, shown or published."""

import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from urllib.parse import unquote, urlsplit

import httpx
import msgpack
import pytest

from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.common.urls import expand
from faulty.edge import Edge, Rule
from faulty.messages import Answer

JWT = re.compile(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+")
SIGNATURE = re.compile(r"Signature=([0-9a-f]{64})")
PRESIGNED = "0123456789abcdef" * 4
# What was put there by the test: the index of local datasets belongs to the lab and may hold anything.
INDEX = (b"LocalDatasetEntry:", b"atdata:dataset:", b"atdata:shards:")


class Echo(Rule):
    """Notes the secrets that pass, and answers some calls with an error that repeats all that was sent.

    Args:
        failing: Gives the status of the error, or None: the service answers.
    """

    def __init__(self, failing):
        self.failing = failing
        self.passed = set()
        self.repeated = 0

    def asked(self, call):
        # The secrets first: an error may be cut short.
        sent = f"{call.headers.get('authorization', '')} {call.body.decode('latin-1')} {call.path} {call.headers}"
        self.passed.update(JWT.findall(sent), SIGNATURE.findall(sent))
        status = self.failing(call)
        if status is None:
            return None
        self.repeated += 1
        if call.service == "pds":
            body = json.dumps({"error": "Echo", "message": sent}).encode()
            return Answer(status, {"content-type": "application/json"}, body)
        escaped = sent.replace("&", "&amp;").replace("<", "&lt;")
        signature = next(iter(SIGNATURE.findall(sent)), "")
        body = (
            f"<Error><Code>Echo</Code><Message>{escaped}</Message><SignatureProvided>{signature}"
            f"</SignatureProvided><StringToSign>{escaped}</StringToSign></Error>"
        ).encode()
        return Answer(status, {"content-type": "application/xml"}, body)

    def answered(self, call, answer):
        if answer is None:
            return None
        self.passed.update(JWT.findall(answer.body.decode("latin-1")))
        if "/xrpc/com.atproto.server." not in call.path or answer.status != 200:
            return None
        # The DID document names the PDS itself, and a client would go there past the edge.
        told = {name: value for name, value in json.loads(answer.body).items() if name != "didDoc"}
        return replace(answer, body=json.dumps(told).encode())


class World:
    """A lab whose every way out is watched, and all places where a secret could have been left."""

    def __init__(self, lab, environ, edge, echo, tmp_path, state_folder):
        self.lab, self.environ, self.edge, self.echo = lab, environ, edge, echo
        self.home = tmp_path / "home"
        self.home.mkdir()
        self.state = state_folder
        (self.home / "dagster.yaml").write_text(
            "telemetry:\n  enabled: false\npython_logs:\n  managed_python_loggers: [atdata_core, httpx]\n"
        )
        password = urlsplit(environ["ATDATA_REDIS_URL"]).password
        place = urlsplit(edge.urls["redis"])
        self.variables = {
            **os.environ,
            **environ,
            "ATDATA_PDS_URL": edge.urls["pds"],
            "ATDATA_S3_ENDPOINT": edge.urls["s3"],
            "ATDATA_REDIS_URL": f"redis://:{password}@{place.netloc}{urlsplit(environ['ATDATA_REDIS_URL']).path}",
            # What an account published is asked for at the PDS itself, which the DID document names.
            "ATDATA_ALLOW_PRIVATE": f"{edge.places},{urlsplit(environ['ATDATA_PDS_URL']).netloc}",
            "DAGSTER_HOME": str(self.home),
        }
        self.known = {
            "the app password": environ["ATDATA_APP_PASSWORD"],
            "the secret key": environ["AWS_SECRET_ACCESS_KEY"],
            "the access key": environ["AWS_ACCESS_KEY_ID"],
            "the password of Redis": password,
            "the signature of a presigned URL": PRESIGNED,
        }

    def insert_foreign(self, name, url, metadata=None):
        """An entry as another program writes it: nobody looked at its URL."""
        entry = self.lab.index.get_entry_by_name("pictures")
        fields = {
            "name": name,
            "schema_ref": entry.schema_ref,
            "data_urls": msgpack.packb([url]),
            "cid": f"cid-{name}",
        }
        if metadata is not None:
            fields["metadata"] = msgpack.packb(metadata)
        self.lab.index.redis.hset(f"LocalDatasetEntry:cid-{name}", mapping=fields)

    def promote(self, *arguments):
        """Run the command; what it printed is looked at with the rest.

        In a process of its own, which takes seconds: everything that it writes and prints shall be looked at.
        """
        command = [sys.executable, "-m", "atdata_pipelines", "promote", "--verbose", *arguments]
        self.done = subprocess.run(
            command, env=self.variables, capture_output=True, text=True, timeout=300, cwd=self.home
        )
        return self.done

    def left(self):
        """Every place with what lies there, as text."""
        yield "stdout", self.done.stdout
        yield "stderr", self.done.stderr
        for path in self.home.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes().decode("latin-1")
            if path.suffix == ".db":
                with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
                    yield f"{path} as SQL", "\n".join(database.iterdump())
        redis = self.lab.index.redis
        for key in redis.scan_iter(count=1000):
            if not key.startswith(INDEX):
                yield f"Redis {key!r}", f"{key!r} {_value(redis, key)!r}"
        for path in self.state.rglob("*"):
            if path.is_file() and path.parent.name == "sessions":
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
            elif path.is_file():
                yield str(path), path.read_text()
        for collection in (ENTRY, SCHEMA, LABEL):
            query = {"repo": self.environ["ATDATA_HANDLE"], "collection": collection, "limit": 100}
            url = f"{self.environ['ATDATA_PDS_URL']}/xrpc/com.atproto.repo.listRecords"
            yield collection, httpx.get(url, params=query).raise_for_status().text

    def assert_no_secret_is_left(self):
        """Look everywhere for every secret; at least the kinds that must have passed were seen."""
        assert any(JWT.fullmatch(each) for each in self.echo.passed)
        assert any(re.fullmatch("[0-9a-f]{64}", each) for each in self.echo.passed)
        wanted = {
            **self.known,
            **{f"a token or signature {number}": each for number, each in enumerate(self.echo.passed)},
        }
        places = 0
        for place, text in self.left():
            places += 1
            for what, secret in wanted.items():
                assert secret not in text, f"{what} is in {place}: {_around(text, secret)}"
                assert secret not in unquote(text), f"{what} is in {place}, quoted"
        assert places > 10


def _value(redis, key):
    kind = redis.type(key).decode()
    if kind == "hash":
        return redis.hgetall(key)
    if kind == "stream":
        return redis.xrange(key)
    if kind == "zset":
        return redis.zrange(key, 0, -1)
    return redis.get(key)


def _around(text, secret):
    at = text.index(secret)
    return text[max(0, at - 120) : at + 20]


@pytest.fixture
def world(lab, account_environ, box, tmp_path, state_folder):
    """Make it with what fails: ``world(lambda call: status or None)``."""
    lab.insert("pictures")
    redis = urlsplit(account_environ["ATDATA_REDIS_URL"])
    services = {"pds": box.pds_url, "s3": box.s3["AWS_ENDPOINT"], "redis": f"redis://{redis.hostname}:{redis.port}"}
    with Edge({name: url.replace("localhost", "127.0.0.1") for name, url in services.items()}) as edge:

        def make(failing):
            edge.rule = echo = Echo(failing)
            return World(lab, account_environ, edge, echo, tmp_path, state_folder)

        yield make


def is_put(call):
    writes = ("/xrpc/com.atproto.repo.putRecord", "/xrpc/com.atproto.repo.applyWrites")
    return call.service == "pds" and call.path.startswith(writes)


@pytest.mark.slow
def test_no_secret_stays_behind_a_run_in_which_some_succeed_and_some_fail(lab, world):
    broken = lab.insert("broken", start=50)
    keys = {f"/{url.removeprefix('s3://')}" for url in expand(broken.data_urls)}
    lab.insert("refused", start=90)

    def failing(call):
        if is_put(call):
            return 400 if b'"name":"refused"' in call.body else None
        return 403 if call.service == "s3" and call.method == "GET" and call.path.split("?")[0] in keys else None

    here = world(failing)
    url = f"{here.variables['ATDATA_S3_ENDPOINT']}/{lab.bucket}/x.tar?X-Amz-Signature={PRESIGNED}"
    here.insert_foreign("signed", url)
    here.insert_foreign("noted", lab.index.get_entry_by_name("pictures").data_urls[0], {"source": {"from": url}})
    lab.index.redis.delete(f"atdata:shards:{broken.cid}")
    done = here.promote("pictures", "refused", "broken", "signed", "noted")
    assert done.returncode == 1, done.stderr
    assert "pictures: created at://" in done.stdout
    for name in ("refused", "broken", "signed", "noted"):
        assert f"Error: {name} was not promoted" in done.stderr
    assert "It answered 400 Echo: Bearer ***" in done.stderr
    assert "metadata['source']['from'] holds what looks like" in done.stderr
    assert here.echo.repeated >= 2
    here.assert_no_secret_is_left()


def test_a_secret_among_the_values_of_a_person_starts_no_run(lab, command, tmp_path, monkeypatch):
    lab.insert("pictures")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    done = command("promote", "pictures", "--description", f"see https://h/x?X-Amz-Signature={PRESIGNED}")
    assert done.exit_code == 1
    assert "description holds what looks like" in done.stderr
    assert PRESIGNED not in done.output
    assert not list(tmp_path.rglob("*.db"))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("what", "failing"),
    [
        ("the login is refused", lambda call: 401 if "createSession" in call.path else None),
        ("the login fails", lambda call: 500 if "createSession" in call.path else None),
        ("a write is refused", lambda call: 400 if is_put(call) else None),
        ("writes fail", lambda call: 500 if is_put(call) else None),
        ("the session is refused", lambda call: 401 if is_put(call) else None),
        ("S3 refuses", lambda call: 400 if call.service == "s3" else None),
        ("S3 fails", lambda call: 503 if call.service == "s3" else None),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_no_secret_stays_behind_a_run_in_which(what, failing, lab, world):
    entry = lab.index.get_entry_by_name("pictures")
    here = world(failing)
    lab.index.redis.delete(f"atdata:shards:{entry.cid}")
    done = here.promote("pictures")
    assert done.returncode == 1, what
    assert here.echo.repeated >= 1
    if "login" in what or "S3" in what:
        # Not every kind of secret comes into play.
        here.echo.passed |= {"eyJx.eyJx.x", "0" * 64}
    here.assert_no_secret_is_left()
