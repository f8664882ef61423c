"""Shards that are fetched ahead of their reader: in order, in bounded memory, and no thread is left."""

import gc
import hashlib
import random
import socket
import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata_core import Dataset, packable
from atdata_core.errors import ServiceRefusedError, ServiceUnavailableError
from atdata_core.local import S3DataStore
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.stores.opening import open_shard
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_core.stores.shard_streams import CHUNK, CHUNKS, Opened, ResumableRead, read_ahead
from faulty.edge import Edge, Tally

DATA = random.Random(7).randbytes(9 * CHUNK + 17)


@packable
class Picture:
    """Something large enough that a shard of a few is fetched in many chunks."""

    pixels: NDArray[np.uint8]
    number: int


class Service:
    """A body that comes in pieces. ``fails`` is raised at the end; ``waits`` holds it up after the first piece."""

    def __init__(self, data=DATA, *, piece=300_000, fails=None, waits=None):
        self.data, self.piece, self.fails, self.waits = data, piece, fails, waits
        self.at = 0
        self.closed = self.stopped = 0

    def read(self, count):
        if self.waits is not None and self.at:
            self.waits.wait(10)
            raise ServiceUnavailableError("stopped", service="s", status=None)
        given = self.data[self.at : self.at + min(count, self.piece)]
        self.at += len(given)
        if not given and self.fails:
            raise self.fails
        return given

    def close(self):
        self.closed += 1

    def stop(self):
        self.stopped += 1
        if self.waits is not None:
            self.waits.set()

    def stream(self):
        opened = Opened(self.read, self.close, self.stop, None, None)
        return read_ahead(ResumableRead(opened, lambda at, version: None, "a.tar"), None)


def alive():
    """Threads that fetch."""
    return [thread for thread in threading.enumerate() if thread.name in ("ahead", "next shard")]


def fetching():
    """How many there are; those that are about to end get a moment for it."""
    for _ in range(100):
        if not alive():
            break
        time.sleep(0.01)
    return len(alive())


def test_the_bytes_come_in_order_however_they_are_asked_for():
    draw = random.Random(7)
    service = Service()
    got = bytearray()
    with service.stream() as stream:
        while len(got) < 5 * CHUNK:
            got += stream.read(draw.choice([1, 511, 4096, 70_000, CHUNK, 2 * CHUNK + 1]))
        got += stream.read()
        assert stream.read(5) == stream.read() == b""
    assert got == DATA
    assert service.closed
    assert fetching() == 0


def test_a_whole_chunk_is_given_as_it_is():
    service = Service(piece=CHUNK)
    with service.stream() as stream:
        sizes = [len(chunk) for chunk in iter(lambda: stream.read(CHUNK), b"")]
    assert sizes == [CHUNK] * 9 + [17]


def test_no_more_than_some_chunks_are_fetched_ahead():
    service = Service()
    with service.stream() as stream:
        assert service.at == 0
        stream.read(10)
        for taken in range(1, 4):
            time.sleep(0.1)
            assert service.at <= (taken + CHUNKS) * CHUNK
            stream.read(CHUNK)
    assert fetching() == 0


def test_an_error_comes_after_the_bytes_before_it_and_keeps_its_type():
    service = Service(DATA[: CHUNK + 5], fails=ServiceRefusedError("no more", service="s", status=400))
    with service.stream() as stream:
        assert stream.read(CHUNK) + stream.read(5) == DATA[: CHUNK + 5]
        for _ in range(2):
            with pytest.raises(ServiceRefusedError, match="no more"):
                stream.read(1)
    assert fetching() == 0


def test_who_stops_early_leaves_no_thread_and_no_connection():
    service = Service()
    stream = service.stream()
    stream.read(10)
    stream.close()
    assert fetching() == 0
    assert service.closed
    with pytest.raises(ValueError, match="closed"):
        stream.read(CHUNK)


def test_a_service_that_says_nothing_does_not_hold_up_who_stops():
    service = Service(piece=CHUNK, waits=threading.Event())
    stream = service.stream()
    stream.read(10)
    stream.close()
    assert service.stopped
    assert not alive()


def test_a_stream_that_is_forgotten_ends_its_thread():
    service = Service()
    stream = service.stream()
    stream.read(10)
    del stream
    gc.collect()
    assert fetching() == 0
    assert service.closed


def test_a_stream_that_nobody_reads_has_no_thread():
    service = Service()
    with service.stream():
        assert fetching() == 0
    assert (service.at, service.closed > 0) == (0, True)


@pytest.fixture
def shards(s3, bucket, tmp_path):
    """Two shards of four pictures of 1 MB behind a proxy that counts, as URLs of S3 and of the web."""
    client = S3Endpoint.from_credentials(s3).client
    numbers = iter(range(8))
    for name in ("0.tar", "1.tar"):
        with (tmp_path / name).open("wb") as file, ShardWriter(file) as writer:
            for number in (next(numbers) for _ in range(4)):
                writer.write(Picture(pixels=np.full(1_000_000, number, np.uint8), number=number).as_wds)
        client.upload_file(str(tmp_path / name), bucket, name)
    with Edge({"s3": s3["AWS_ENDPOINT"]}) as edge:
        store = S3DataStore({**s3, "AWS_ENDPOINT": edge.urls["s3"]}, bucket=bucket)
        in_s3 = Dataset[Picture](f"s3://{bucket}/{{0..1}}.tar", data_store=store)
        signed = [store.read_url(f"s3://{bucket}/{name}") for name in ("0.tar", "1.tar")]
        edge.rule = Tally()
        yield edge, {"s3": in_s3, "web": Dataset[Picture](signed)}


both = pytest.mark.parametrize("how", ["s3", "web"])


@both
def test_a_shard_costs_one_request(shards, how):
    edge, datasets = shards
    assert [sample.number for sample in datasets[how].ordered()] == list(range(8))
    assert [call.method for call in edge.rule.calls] == ["GET", "GET"]
    assert fetching() == 0


@both
def test_samples_that_are_no_longer_wanted_end_the_fetching(shards, how):
    _, datasets = shards
    samples = iter(datasets[how].ordered())
    next(samples)
    del samples
    gc.collect()
    assert fetching() == 0


def test_views_outlive_the_stream(shards):
    _, datasets = shards
    samples = list(datasets["s3"].ordered())
    assert [int(sample.pixels[-1]) for sample in samples] == list(range(8))
    assert all(sample.pixels.flags.writeable for sample in samples)


def test_what_is_read_is_what_lies_there(s3, bucket):
    store = S3DataStore(s3, bucket=bucket)
    store.endpoint.client.put_object(Bucket=bucket, Key="a.bin", Body=DATA)
    with open_shard(f"s3://{bucket}/a.bin", store=store) as stream:
        assert hashlib.file_digest(stream, "sha256").digest() == hashlib.sha256(DATA).digest()


@pytest.fixture
def silent():
    """The address of a server that sends a chunk and a half of a large object, and then nothing."""
    ended = threading.Event()

    def serve():
        connection, _ = server.accept()
        with connection:
            connection.recv(1 << 16)
            head = f'HTTP/1.1 200 OK\r\nContent-Length: {9 * CHUNK}\r\nETag: "a"\r\n\r\n'
            connection.sendall(head.encode() + DATA[: CHUNK + CHUNK // 2])
            ended.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        thread.join()


@both
def test_a_silent_server_does_not_hold_up_who_stops(silent, how):
    if how == "s3":
        stream = S3Endpoint(silent, "key", "secret").open("some-bucket", "a.tar")
    else:
        stream = open_shard(f"{silent}/a.tar")
    assert stream.read(CHUNK) == DATA[:CHUNK]
    time.sleep(0.05)
    stream.close()
    assert not alive()
