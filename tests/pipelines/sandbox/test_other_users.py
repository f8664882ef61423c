"""What another user of the machine, who has no keys, can do to a running sandbox: read what is public."""

from __future__ import annotations

import os
import socket
import stat
import subprocess

import boto3
import botocore.exceptions
import httpx
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from atdata_pipelines.sandbox import Sandbox, SandboxError


@pytest.fixture(scope="module")
def open_folder(tmp_path_factory):
    """A folder that others could look into."""
    folder = tmp_path_factory.mktemp("open") / "box"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def used(open_folder):
    """A sandbox of a person with a careless umask, and an object in each of its buckets."""
    before = os.umask(0)
    try:
        with Sandbox(open_folder, buckets=["lab", "public", "public-too", "publicly"]) as box:
            client = s3(box.s3["AWS_ACCESS_KEY_ID"], box.s3["AWS_SECRET_ACCESS_KEY"], box)
            for bucket in ("lab", "public", "public-too", "publicly"):
                client.put_object(Bucket=bucket, Key="a/b.txt", Body=bucket.encode())
            client.close()
            yield box
    finally:
        os.umask(before)


def s3(access_key, secret_key, box):
    return boto3.client(
        "s3",
        endpoint_url=box.s3["AWS_ENDPOINT"],
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
    )


def address(url):
    host, port = url.rpartition("@")[2].removeprefix("http://").partition("/")[0].split(":")
    return host, int(port)


def raw(url, path):
    """The status and body of a path that no client would send as it is."""
    with socket.create_connection(address(url), timeout=5) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while more := connection.recv(1 << 16):
            answer += more
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


def test_every_file_and_folder_is_closed_to_others_whatever_the_umask(used):
    for path in (used.folder, *used.folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(used.folder.stat().st_mode) == 0o700


def test_no_key_stands_in_the_list_of_processes(used):
    password = used.redis_url.partition("//:")[2].partition("@")[0]
    secrets = (password, used.s3["AWS_SECRET_ACCESS_KEY"], used.password, used.invite_code)
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not any(secret in shown for secret in secrets)


def test_redis_does_nothing_without_its_password(used):
    host, port = address(used.redis_url)
    for password in (None, "", "wrong"):
        # The client would log in again and again before it says so.
        once = Retry(NoBackoff(), 0)
        with redis.Redis(host=host, port=port, password=password, retry=once) as stranger:
            for command in (("PING",), ("GET", "a"), ("SET", "a", "b"), ("FLUSHALL",), ("INFO",), ("SHUTDOWN",)):
                with pytest.raises(redis.AuthenticationError):
                    stranger.execute_command(*command)


@pytest.mark.parametrize(
    "command",
    [
        *("SHUTDOWN", "FLUSHALL", "MONITOR", "SAVE", "CONFIG SET dir /tmp", "MODULE LOAD /tmp/a.so"),
        *("REPLICAOF 127.0.0.1 1", "DEBUG SLEEP 0", "ACL SETUSER other on", "MIGRATE 127.0.0.1 1 a 0 1"),
        *("CLIENT KILL TYPE normal", "CLIENT PAUSE 1", "SWAPDB 0 1", "FAILOVER"),
    ],
)
def test_redis_refuses_with_its_password_what_a_lab_needs_not(used, command):
    refused = pytest.raises(redis.ResponseError, match=r"no permissions|not allowed")
    with redis.Redis.from_url(used.redis_url) as client, refused:
        client.execute_command(*command.split())


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "POST"])
@pytest.mark.parametrize("path", ["", "lab", "lab/a/b.txt", "public/a/b.txt", "new-bucket"])
def test_s3_does_nothing_without_a_signature(used, method, path):
    answer = httpx.request(method, f"{used.s3['AWS_ENDPOINT']}/{path}", content=b"x" if method == "PUT" else None)
    assert answer.status_code >= 400
    assert not (used.folder / "s3" / "new-bucket").exists()
    assert (used.folder / "s3" / "lab" / "a" / "b.txt").read_bytes() == b"lab"


def test_s3_does_nothing_with_other_keys(used):
    right = used.s3["AWS_ACCESS_KEY_ID"]
    for keys in ((right, "wrong"), ("other", used.s3["AWS_SECRET_ACCESS_KEY"]), ("other", "wrong")):
        client = s3(*keys, used)
        presigned = client.generate_presigned_url("get_object", {"Bucket": "lab", "Key": "a/b.txt"})
        assert httpx.get(presigned).status_code >= 400
        for call in (
            lambda client=client: client.list_buckets(),
            lambda client=client: client.get_object(Bucket="lab", Key="a/b.txt"),
            lambda client=client: client.put_object(Bucket="lab", Key="new", Body=b""),
            lambda client=client: client.delete_object(Bucket="lab", Key="a/b.txt"),
        ):
            with pytest.raises(botocore.exceptions.ClientError):
                call()
        client.close()
    assert [path.name for path in (used.folder / "s3" / "lab").iterdir()] == ["a"]


def test_anybody_reads_the_objects_of_public_buckets_and_writes_none(used):
    for bucket in ("public", "public-too"):
        url = f"{used.public_url}/{bucket}/a/b.txt"
        assert httpx.get(url).content == bucket.encode()
        for method in ("PUT", "POST", "DELETE"):
            assert httpx.request(method, url).status_code >= 400
        assert httpx.get(url).content == bucket.encode()


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/public", "/public/", "/public/a/", "/lab", "/lab/", "/lab/a/b.txt", "/publicly/a/b.txt"),
        *("/public/../lab/a/b.txt", "/public/%2e%2e/lab/a/b.txt", "/public/..%2flab/a/b.txt", "/../state.json"),
        *("/public/../../state.json", "/%2e%2e/state.json", "//lab/a/b.txt", "/./lab/a/b.txt", "/public/..\\lab"),
        *("/LAB/a/b.txt", "/public/link/state.json", "/public/state"),
    ],
)
def test_the_public_server_serves_and_lists_nothing_else(used, path):
    public = used.folder / "s3" / "public"
    for name, target in (("link", used.folder), ("state", used.folder / "state.json")):
        if not (public / name).is_symlink():
            (public / name).symlink_to(target)
    status, body = raw(used.public_url, path)
    # 301 leads to the path without its dots, which is asked for here too.
    assert status >= 300
    assert not any(word in body for word in (b"b.txt", b"s3_secret_key", b"publicly", b"public-too"))


def test_nobody_makes_an_account_or_writes_a_record_without_the_keys(used):
    with httpx.Client(base_url=f"{used.pds_url}/xrpc/") as stranger:
        account = {"handle": "stranger.test", "password": "password", "email": "s@example.org"}
        for more in ({}, {"inviteCode": ""}, {"inviteCode": "guess"}):
            refused = stranger.post("com.atproto.server.createAccount", json=account | more)
            assert (refused.status_code, refused.json()["error"]) == (400, "InvalidInviteCode")
        assert stranger.get("com.atproto.server.describeServer").json()["inviteCodeRequired"] is True
        record = {"repo": used.did, "collection": "a.b.c", "rkey": "k", "record": {"n": 1}}
        for token in ({}, {"authorization": "Bearer guess"}):
            for method in ("createRecord", "putRecord", "deleteRecord"):
                answer = stranger.post(f"com.atproto.repo.{method}", json=record, headers=token)
                assert answer.status_code in (400, 401)
            assert stranger.post("com.atproto.repo.uploadBlob", content=b"x", headers=token).status_code in (
                400,
                401,
            )
        login = {"identifier": used.handle, "password": "guess"}
        assert stranger.post("com.atproto.server.createSession", json=login).status_code == 401
        made = stranger.post("com.atproto.server.createAccount", json=account | {"inviteCode": used.invite_code})
        assert made.status_code == 200
    for method in ("POST", "PUT", "DELETE"):
        assert httpx.request(method, f"{used.plc_url}/{used.did}").status_code == 405


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    # Also for root, who could close it: its owner opens it again.
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(SandboxError, match="belongs to another user"), Sandbox(tmp_path):
        pass
