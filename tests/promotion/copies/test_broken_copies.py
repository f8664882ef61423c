"""A large copy that breaks off goes on where it stopped: no part of it reaches the service twice."""

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import threading

import pytest

from atdata_core.errors import AtdataError, ServiceUnavailableError, ShardChangedError
from atdata_core.local import S3DataStore
from atdata_core.protocols import ShardFacts
from faulty.edge import Answer, Edge, Fault, Rule

MIB = 1 << 20
DATA = random.Random(7).randbytes(20 * MIB + 5)
FACTS = ShardFacts(
    "s3://lab/a.tar",
    len(DATA),
    sha256=hashlib.sha256(DATA).hexdigest(),
    md5=hashlib.md5(DATA, usedforsecurity=False).hexdigest(),
)


class Arrived(Rule):
    """Counts the bytes that the service took; ``fault`` says what the client gets after each part of them."""

    def __init__(self, fault=lambda number: None):
        self.fault = fault
        self.parts = []

    @property
    def bytes(self):
        return sum(self.parts)

    def answered(self, call, answer):
        if call.method != "PUT" or answer.status != 200:
            return None
        self.parts.append(len(call.body))
        return self.fault(len(self.parts))


@pytest.fixture
def edge(s3):
    with Edge({"s3": s3["AWS_ENDPOINT"]}) as running:
        yield running


@pytest.fixture
def store(s3, edge, bucket):
    return S3DataStore({**s3, "AWS_ENDPOINT": edge.urls["s3"]}, bucket=bucket)


def written(store):
    body = store.endpoint.client.get_object(Bucket=store.bucket, Key="a.tar")["Body"]
    return hashlib.file_digest(body, "sha256").hexdigest() == FACTS.sha256


def left_open(store):
    return store.endpoint.client.list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])


class Breaks(io.BytesIO):
    """A source that breaks off after so many bytes."""

    def __init__(self, data, end, error=None):
        super().__init__(data)
        self.end = end
        self.error = error or ServiceUnavailableError("the source has gone", service="s", status=None)

    def read(self, size=-1, /):
        if self.tell() >= self.end:
            raise self.error
        return super().read(size)


def test_a_part_whose_answer_is_lost_is_not_sent_again(store, edge):
    edge.rule = arrived = Arrived(lambda number: Fault.RESET if number in (1, 3) else None)
    assert store.send_shard("a.tar", io.BytesIO(DATA), FACTS).proof == "etag md5"
    assert arrived.parts == [8 * MIB, 8 * MIB, 4 * MIB + 5]
    assert written(store)


def test_a_copy_whose_source_breaks_off_goes_on_in_the_next_run(store, edge):
    edge.rule = arrived = Arrived()
    with pytest.raises(ServiceUnavailableError, match="the source has gone"):
        store.put_shard("a.tar", Breaks(DATA, 17 * MIB), size=FACTS.size, sha256=FACTS.sha256)
    assert arrived.bytes == 16 * MIB
    store.put_shard("a.tar", io.BytesIO(DATA), size=FACTS.size, sha256=FACTS.sha256)
    assert arrived.bytes == len(DATA)
    assert written(store)
    assert left_open(store) == []


class Away(Rule):
    """A service that fails from the second part on."""

    def asked(self, call):
        return Answer(503) if "partNumber=2" in call.path else None


def test_a_copy_whose_service_fails_goes_on_in_the_next_run(store, edge):
    edge.rule = Away()
    with pytest.raises(ServiceUnavailableError, match="503"):
        store.send_shard("a.tar", io.BytesIO(DATA), FACTS)
    edge.rule = arrived = Arrived()
    store.send_shard("a.tar", io.BytesIO(DATA), FACTS)
    assert arrived.parts == [8 * MIB, 4 * MIB + 5]
    assert written(store)


RUN = """
import os, sys
from atdata_core.local import S3DataStore

path, endpoint, bucket, size, sha256 = sys.argv[1:]
keys = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
store = S3DataStore({**keys, "AWS_ENDPOINT": endpoint}, bucket=bucket)
with open(path, "rb") as stream:
    store.put_shard("a.tar", stream, size=int(size), sha256=sha256)
"""


def test_a_process_that_was_killed_is_followed_by_one_that_sends_the_rest(store, edge, s3, tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(DATA)
    started = threading.Event()
    processes = []

    def kill(number):
        if number == 2:
            assert started.wait(30)
            processes[0].send_signal(signal.SIGKILL)
            return Fault.RESET
        return None

    def run():
        arguments = [path, edge.urls["s3"], store.bucket, str(FACTS.size), FACTS.sha256]
        processes.append(subprocess.Popen([sys.executable, "-c", RUN, *arguments], env=os.environ | s3))
        started.set()
        return processes[-1].wait(60)

    edge.rule = arrived = Arrived(kill)
    assert run() == -signal.SIGKILL
    assert arrived.parts == [8 * MIB, 8 * MIB]
    assert run() == 0
    assert arrived.parts == [8 * MIB, 8 * MIB, 4 * MIB + 5]
    assert written(store)


def test_parts_of_other_bytes_are_never_part_of_the_object(store):
    changed = DATA[:MIB] + b"x" + DATA[MIB + 1 :]
    with pytest.raises(ServiceUnavailableError):
        store.send_shard("a.tar", Breaks(changed, 12 * MIB), FACTS)
    assert len(left_open(store)) == 1
    # rclone does not let a part be replaced: what nothing can go on with is dropped, and the next run begins anew.
    with pytest.raises(AtdataError):
        store.send_shard("a.tar", io.BytesIO(DATA), FACTS)
    assert left_open(store) == []
    store.send_shard("a.tar", io.BytesIO(DATA), FACTS)
    assert written(store)


def test_wrong_bytes_are_dropped_at_once(store):
    changed = DATA[:-1] + b"x"
    with pytest.raises(ShardChangedError, match=r"a\.tar"):
        store.send_shard("a.tar", io.BytesIO(changed), FACTS)
    for other in (DATA[:-1], DATA + b"x"):
        with pytest.raises(ShardChangedError):
            store.send_shard("a.tar", io.BytesIO(other), FACTS)
    assert left_open(store) == []
    assert store.find_shard("s3://" + store.bucket + "/a.tar", FACTS) is None


def test_an_upload_that_somebody_ended_is_trouble_that_passes(store, edge, s3):
    class Ends(Rule):
        def answered(self, call, answer):
            if "partNumber=1" in call.path:
                upload = left_open(straight)[0]["UploadId"]
                straight.endpoint.client.abort_multipart_upload(Bucket=store.bucket, Key="a.tar", UploadId=upload)

    straight = S3DataStore(
        {
            "AWS_ENDPOINT": s3["AWS_ENDPOINT"],
            "AWS_ACCESS_KEY_ID": store.endpoint.access_key,
            "AWS_SECRET_ACCESS_KEY": store.endpoint.secret_key,
        },
        bucket=store.bucket,
    )
    edge.rule = Ends()
    with pytest.raises(ServiceUnavailableError, match="Something else ended the upload"):
        store.send_shard("a.tar", io.BytesIO(DATA), FACTS)
    edge.rule = Rule()
    store.send_shard("a.tar", io.BytesIO(DATA), FACTS)
    assert written(store)


def test_an_upload_of_other_parts_is_left_alone(store):
    client = store.endpoint.client
    place = {"Bucket": store.bucket, "Key": "a.tar"}
    upload = client.create_multipart_upload(**place)["UploadId"]
    client.upload_part(**place, UploadId=upload, PartNumber=1, Body=DATA[: 5 * MIB])
    store.send_shard("a.tar", io.BytesIO(DATA), FACTS)
    assert written(store)
    assert [found["UploadId"] for found in left_open(store)] == [upload]


def test_parts_prove_an_object_whose_etag_is_made_of_theirs(moto_s3):
    store = S3DataStore(moto_s3, bucket="parts-prove")
    store.endpoint.client.create_bucket(Bucket="parts-prove")
    landed = store.send_shard("a.tar", io.BytesIO(DATA), FACTS)
    assert (landed.proof, landed.etag[-2:]) == ("etag md5", "-3")
    # Somebody who has only the digests of the whole reads it.
    assert store.find_shard("s3://parts-prove/a.tar", FACTS).proof == "read back"
    assert written(store)
