"""The sandbox: what it gives, what it keeps, and how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from atdata_pipelines.sandbox import Sandbox, SandboxError
from atdata_pipelines.sandbox.services import free_port, is_taken

OWNER = """
import sys, time
from atdata_pipelines.sandbox import Sandbox
with Sandbox(sys.argv[1] if len(sys.argv) > 1 else None) as box:
    print(box.folder, *(url.rpartition(":")[2].partition("/")[0] for url in
        (box.redis_url, box.s3["AWS_ENDPOINT"], box.public_url, box.pds_url, box.plc_url)), flush=True)
    time.sleep(600)
"""

FORKING = """
import os, sys
from atdata_pipelines.sandbox import Sandbox
from atdata_pipelines.sandbox.services import answers
with Sandbox(sys.argv[1]) as box:
    if (child := os.fork()) == 0:
        sys.exit(print("forked", flush=True))
    os.waitpid(child, 0)
    box.check()
    if answers(int(box.pds_url.rpartition(":")[2])):
        print("alive", flush=True)
"""


def s3_client(box: Sandbox):
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=box.s3["AWS_ENDPOINT"],
        aws_access_key_id=box.s3["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=box.s3["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )


def redis_client(box: Sandbox):
    import redis

    return redis.Redis.from_url(box.redis_url)


def put_record(box: Sandbox, rkey: str) -> str:
    given = {"identifier": box.handle, "password": box.password}
    session = httpx.post(f"{box.pds_url}/xrpc/com.atproto.server.createSession", json=given).json()
    written = httpx.post(
        f"{box.pds_url}/xrpc/com.atproto.repo.putRecord",
        headers={"authorization": f"Bearer {session['accessJwt']}"},
        json={"repo": box.did, "collection": "science.example.thing", "rkey": rkey, "record": {"n": 1}},
    )
    return written.raise_for_status().json()["uri"]


def read_record(box: Sandbox, rkey: str) -> httpx.Response:
    asked = {"repo": box.did, "collection": "science.example.thing", "rkey": rkey}
    return httpx.get(f"{box.pds_url}/xrpc/com.atproto.repo.getRecord", params=asked)


def gone(ports: list[int], seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while any(is_taken(port) for port in ports):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


# What it gives


def test_every_variable_of_the_pipeline_is_set_but_no_publish_bucket(box):
    variables = box.environ()
    assert set(variables) == {
        "ATDATA_REDIS_URL",
        "ATDATA_S3_ENDPOINT",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "ATDATA_PDS_URL",
        "ATDATA_PLC_URL",
        "ATDATA_HANDLE",
        "ATDATA_APP_PASSWORD",
        "ATDATA_ALLOW_PRIVATE",
    }
    for url in (box.s3["AWS_ENDPOINT"], box.public_url, box.pds_url, box.plc_url):
        assert url.removeprefix("http://") in variables["ATDATA_ALLOW_PRIVATE"].split(",")


def test_an_object_is_read_by_anybody_as_soon_as_it_is_written(box, bucket):
    client = s3_client(box)
    for content in (b"first", b"second, longer"):
        client.put_object(Bucket=bucket, Key="a/b.txt", Body=content)
        assert httpx.get(f"{box.public_url}/{bucket}/a/b.txt").content == content
    client.close()
    assert httpx.put(f"{box.public_url}/{bucket}/c.txt", content=b"x").status_code >= 400
    assert httpx.get(f"{box.s3['AWS_ENDPOINT']}/{bucket}/a/b.txt").status_code >= 400


def test_redis_keeps_what_it_has_and_never_evicts(box):
    with redis_client(box) as client:
        assert client.config_get("appendonly")["appendonly"] == "yes"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"


def test_services_listen_on_the_loopback_address_alone(box):
    for url in (box.redis_url, box.s3["AWS_ENDPOINT"], box.public_url, box.pds_url, box.plc_url):
        port = int(url.rpartition(":")[2].partition("/")[0])
        # A server on all addresses would answer on this one too.
        for address, reached in (("127.0.0.1", True), ("127.0.0.2", False)):
            with socket.socket() as probe:
                probe.settimeout(1)
                assert (probe.connect_ex((address, port)) == 0) == reached


def test_given_ports_keys_handle_and_bucket_are_used(tmp_path):
    from atproto import Client

    redis_port, s3_port, pds_port = free_port(), free_port(), free_port()
    with Sandbox(
        redis_port=redis_port,
        s3_port=s3_port,
        pds_port=pds_port,
        s3_access_key="minioadmin",
        s3_secret_key="minioadmin",
        handle="myhandle.bsky.social",
        password="app-password",
        buckets=["datasets-bucket"],
    ) as box:
        assert box.redis_url.startswith("redis://:")
        assert box.redis_url.endswith(f"@127.0.0.1:{redis_port}/0")
        assert box.s3 == {
            "AWS_ENDPOINT": f"http://127.0.0.1:{s3_port}",
            "AWS_ACCESS_KEY_ID": "minioadmin",
            "AWS_SECRET_ACCESS_KEY": "minioadmin",
        }
        client = s3_client(box)
        assert [each["Name"] for each in client.list_buckets()["Buckets"]] == ["datasets-bucket"]
        client.close()
        client = Client(f"http://127.0.0.1:{pds_port}")
        client.login("myhandle.bsky.social", "app-password", fetch_bsky_profile=False)
        made = client.com.atproto.repo.create_record(
            {"repo": box.did, "collection": "science.example.thing", "record": {"n": 1}}
        )
        client.request.close()
        assert made.uri.startswith(f"at://{box.did}/")
        folder = box.folder
    assert not folder.exists()
    assert gone([redis_port, s3_port, pds_port], 0.1)


# What it keeps


def test_a_second_start_has_the_same_addresses_accounts_and_data(tmp_path):
    with Sandbox(tmp_path / "box", buckets=["public-kept"]) as box:
        first, did = box.environ(), box.did
        with redis_client(box) as redis:
            redis.set("name", "value")
        client = s3_client(box)
        client.put_object(Bucket="public-kept", Key="k", Body=b"bytes")
        client.close()
        put_record(box, "r")
    with Sandbox(tmp_path / "box") as box:
        assert (box.environ(), box.did) == (first, did)
        with redis_client(box) as redis:
            assert redis.get("name") == b"value"
        assert httpx.get(f"{box.public_url}/public-kept/k").content == b"bytes"
        assert read_record(box, "r").json()["value"]["n"] == 1


def test_the_folder_and_its_secrets_are_the_owners_alone(tmp_path):
    with Sandbox(tmp_path / "box") as box:
        assert stat.S_IMODE(box.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((box.folder / "state.json").stat().st_mode) == 0o600
        secrets = [box.s3["AWS_SECRET_ACCESS_KEY"], box.password]
        assert not any(secret in repr(vars(box)) for secret in secrets)
        logs = "".join(log.read_text() for log in (box.folder / "logs").iterdir())
        assert not any(secret in logs for secret in secrets)


def test_another_password_for_a_known_handle_is_refused(tmp_path):
    with Sandbox(tmp_path / "box", handle="one.test", password="first"):
        pass
    with (
        pytest.raises(SandboxError, match=r"one\.test of this sandbox has another password"),
        Sandbox(tmp_path / "box", handle="one.test", password="second"),
    ):
        pass
    with Sandbox(tmp_path / "box") as box:
        assert (box.handle, box.password) == ("one.test", "first")


def test_a_damaged_state_is_named_and_left_as_it_is(tmp_path):
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(SandboxError, match=r"state\.json is damaged"), Sandbox(tmp_path):
        pass
    assert (tmp_path / "state.json").read_text() == "{"


# Two at once


def test_a_second_sandbox_on_the_folder_uses_the_running_one_and_leaves_it_running(tmp_path):
    with Sandbox(tmp_path, buckets=["first"]) as box:
        with Sandbox(tmp_path, buckets=["second"], handle="guest.test") as guest:
            assert (guest.attached, box.attached) == (True, False)
            assert guest.redis_url == box.redis_url
            assert guest.did != box.did
            put_record(guest, "r")
            client = s3_client(guest)
            assert {each["Name"] for each in client.list_buckets()["Buckets"]} == {"first", "second"}
            client.close()
        assert read_record(box, "r").status_code == 400
        put_record(box, "r")
    with Sandbox(tmp_path) as box:
        assert not box.attached
        assert box.handle == "demo.test"


def test_a_running_sandbox_is_not_changed_by_other_wishes(tmp_path):
    with Sandbox(tmp_path) as box:
        with pytest.raises(SandboxError, match="is running already, with Redis"), Sandbox(tmp_path, redis_port=1):
            pass
        with pytest.raises(SandboxError, match="another s3_secret_key"), Sandbox(tmp_path, s3_secret_key="x"):
            pass
        put_record(box, "r")


# How it ends


@pytest.mark.parametrize("kept", [True, False])
def test_nothing_survives_a_killed_owner(tmp_path, kept):
    folder = [str(tmp_path / "box")] if kept else []
    owner = subprocess.Popen([sys.executable, "-c", OWNER, *folder], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    root, *ports = owner.stdout.readline().split()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert gone([int(port) for port in ports])
    until = time.monotonic() + 5
    while not kept and Path(root).exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert Path(root).exists() == kept


def test_a_forked_copy_of_the_program_does_not_stop_the_services(tmp_path):
    # In a program of its own: a fork of this one may have threads.
    done = subprocess.run([sys.executable, "-c", FORKING, tmp_path], capture_output=True, text=True)
    assert done.stdout.split() == ["forked", "alive"], done.stderr


def test_a_service_that_ended_by_itself_is_named(tmp_path):
    with Sandbox(tmp_path) as box:
        with redis_client(box) as redis:
            pid = redis.info("server")["process_id"]
        os.kill(pid, signal.SIGKILL)
        assert gone([int(box.redis_url.rpartition(":")[2].removesuffix("/0"))])
        time.sleep(0.5)
        with pytest.raises(SandboxError, match=r"Redis .* has ended by itself"):
            box.check()


# What cannot start


@pytest.mark.parametrize(("argument", "title"), [("redis_port", "Redis"), ("s3_port", "S3"), ("pds_port", "PDS")])
def test_a_busy_port_is_named_with_its_service_and_the_way_out(tmp_path, argument, title):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with (
            pytest.raises(SandboxError, match=rf"Port {port}, .*{title}.* in use.*give another {argument}"),
            Sandbox(tmp_path / "box", **{argument: port}),
        ):
            pass
    assert [each.name for each in (tmp_path / "box").iterdir()] == ["lock"]


def test_a_failed_start_leaves_no_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        socket.create_server(("127.0.0.1", 0)) as busy,
        pytest.raises(SandboxError),
        Sandbox(redis_port=busy.getsockname()[1]),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_what_to_install(tmp_path, monkeypatch):
    def files(package: str):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "files", files)
    with pytest.raises(SandboxError, match=r"pip install 'atdata-pipelines\[sandbox\]'"), Sandbox(tmp_path):
        pass


@pytest.mark.parametrize("bucket", ["ab", "Upper", "under_score", "-x-", "a..b", "../x"])
def test_a_name_that_cannot_be_a_bucket_is_refused(bucket):
    with pytest.raises(SandboxError, match="cannot be an S3 bucket"):
        Sandbox(buckets=[bucket])


def test_a_sandbox_that_is_not_running_says_so():
    with pytest.raises(SandboxError, match="with Sandbox"):
        _ = Sandbox().redis_url


# In the foreground


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_served_sandbox_prints_its_variables_and_stops_when_told(tmp_path, by):
    command = [
        sys.executable,
        "-m",
        "atdata_pipelines",
        "sandbox",
        "--path",
        str(tmp_path / "my box"),
        "--bucket",
        "some-bucket",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = []
    while not lines or "Running" not in lines[-1]:
        lines.append(process.stdout.readline())
    # What `make ui` sets, so that a command in another shell does what the UI would.
    for name in ("ATDATA_REDIS_URL", "ATDATA_PUBLISH_BUCKET", "ATDATA_PUBLISH_PUBLIC_URL", "DAGSTER_HOME"):
        assert any(line.startswith(f"export {name}=") for line in lines)
    assert (tmp_path / "my box" / "dagster_home" / "dagster.yaml").is_file()
    script = "".join(lines) + '\necho "$ATDATA_PDS_URL $ATDATA_HANDLE"'
    said = subprocess.run([shutil.which("sh") or "sh", "-c", script], capture_output=True, text=True).stdout
    url, handle = said.split()
    known = httpx.get(f"{url}/xrpc/com.atproto.identity.resolveHandle", params={"handle": handle})
    assert known.status_code == 200
    with Sandbox(tmp_path / "my box") as box:
        assert box.attached
    process.send_signal(by)
    assert process.wait(6) == 0
    assert "Stopped" in process.stdout.read()
    process.stdout.close()
    assert gone([int(url.rpartition(":")[2])], 0.1)
