"""Keys, address and style of S3 are found where boto3 finds them, before anything is asked without keys."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atdata_core.errors import CredentialsError, ShardForbiddenError
from atdata_core.local import S3DataStore
from atdata_core.stores.opening import open_shard, stat_shard
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.config.resources import DestinationResource, ShardS3Resource

DATA = b"kept for those who have keys"

Write = Callable[[str], None]


@pytest.fixture
def write_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the AWS configuration of this test, in which ENDPOINT, KEY and SECRET may stand."""

    def write(text: str) -> None:
        path = tmp_path / "config"
        path.write_text(text)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))

    return write


@pytest.fixture
def known(s3: dict[str, str], write_config: Write) -> Write:
    """As ``write_config``, with the sandbox's address and keys in the place of their names."""

    def write(text: str) -> None:
        for name, value in {
            "ENDPOINT": s3["AWS_ENDPOINT"],
            "KEYS": f"aws_access_key_id={s3['AWS_ACCESS_KEY_ID']}\n"
            f"aws_secret_access_key={s3['AWS_SECRET_ACCESS_KEY']}\n",
        }.items():
            text = text.replace(name, value)
        write_config(text)

    return write


@pytest.fixture
def url(s3: dict[str, str], bucket: str) -> str:
    """A shard that nobody reads without keys."""
    S3Endpoint.from_credentials(s3).client.put_object(Bucket=bucket, Key="a.tar", Body=DATA)
    return f"s3://{bucket}/a.tar"


def read(url: str) -> bytes:
    with open_shard(url) as stream:
        return stream.read()


@pytest.mark.parametrize(
    ("config", "profile"),
    [
        ("[default]\nendpoint_url=ENDPOINT\nKEYS", None),
        ("[profile lab]\nendpoint_url=ENDPOINT\nKEYS", "lab"),
        ("[profile lab]\nservices=ours\nKEYS\n[services ours]\ns3 =\n  endpoint_url = ENDPOINT\n", "lab"),
        (
            "[profile lab]\nservices=ours\nendpoint_url=http://127.0.0.1:1\nKEYS\n"
            "[services ours]\ns3 =\n  endpoint_url = ENDPOINT\n",
            "lab",
        ),
    ],
    ids=["default", "profile", "services", "services-before-profile"],
)
def test_address_and_keys_of_a_profile_are_used(known: Write, url, monkeypatch, config, profile):
    known(config)
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    assert read(url) == DATA
    assert stat_shard(url).size == len(DATA)


def test_a_variable_goes_before_the_configuration(known: Write, s3, url, monkeypatch):
    known("[default]\nendpoint_url=http://127.0.0.1:1\nregion=eu-south-2\nKEYS")
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", s3["AWS_ENDPOINT"])
    assert read(url) == DATA
    found = S3Endpoint.from_environment()
    assert found is not None
    assert found.region == "eu-south-2"
    monkeypatch.delenv("ATDATA_S3_ENDPOINT")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    found = S3Endpoint.from_environment()
    assert found is not None
    assert found.endpoint_url is None


@pytest.fixture
def container(s3: dict[str, str]) -> Iterator[str]:
    """The address at which a container gets its keys."""
    keys = {
        "AccessKeyId": s3["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": s3["AWS_SECRET_ACCESS_KEY"],
        "Token": "token",
        "Expiration": "2999-01-01T00:00:00Z",
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(keys).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()
    server.server_close()
    thread.join()


def test_keys_of_a_container_are_found(container: str, s3, url, monkeypatch):
    assert S3Endpoint.from_environment() is None
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container)
    found = S3Endpoint.from_environment()
    assert found is not None
    assert (found.endpoint_url, found.signs) == (None, True)
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", s3["AWS_ENDPOINT"])
    assert read(url) == DATA


def test_copies_are_written_with_keys_that_the_configuration_leads_to(container: str, s3, bucket, monkeypatch):
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container)
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", s3["AWS_ENDPOINT"])
    monkeypatch.setenv("ATDATA_PUBLISH_BUCKET", bucket)
    store = DestinationResource(addressing_style="auto").bucket_store(ShardS3Resource().endpoint())
    assert store is not None
    assert store.endpoint.addressing_style == "auto"
    store.endpoint.client.put_object(Bucket=bucket, Key="copy.tar", Body=DATA)
    assert store.stat_shard(f"s3://{bucket}/copy.tar").size == len(DATA)


def test_a_process_that_gives_keys_is_asked(known: Write, s3, url, tmp_path):
    script = tmp_path / "keys.py"
    keys = {"AccessKeyId": s3["AWS_ACCESS_KEY_ID"], "SecretAccessKey": s3["AWS_SECRET_ACCESS_KEY"], "Version": 1}
    script.write_text(f"print({json.dumps(keys)!r})")
    known(f"[default]\nendpoint_url=ENDPOINT\ncredential_process = {sys.executable} {script}\n")
    assert read(url) == DATA


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        (
            "[profile lab]\nsso_session=s\nsso_account_id=1\nsso_role_name=r\nendpoint_url=ENDPOINT\n"
            "[sso-session s]\nsso_region=eu-west-1\nsso_start_url=https://sso.invalid/start\n",
            "[Tt]oken",
        ),
        ("[profile lab]\nendpoint_url=ENDPOINT\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=gone\n", "gone"),
        ("[profile lab]\nendpoint_url=ENDPOINT\ncredential_process=/bin/false\n", "custom-process"),
        ("[profile other]\nendpoint_url=ENDPOINT\n", "lab"),
    ],
    ids=["single-sign-on", "role", "process", "no-profile"],
)
def test_a_chain_that_breaks_is_named_for_what_breaks_it(known: Write, s3, url, monkeypatch, config, cause):
    known(config)
    monkeypatch.setenv("AWS_PROFILE", "lab")
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", s3["AWS_ENDPOINT"])
    for ask in (stat_shard, open_shard):
        with pytest.raises(CredentialsError, match=f"configuration gives no keys .*'lab'.*{cause}") as caught:
            ask(url)
        assert "aws sso login" in str(caught.value)


def test_without_any_keys_it_is_asked_as_anybody(s3, url, monkeypatch):
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", s3["AWS_ENDPOINT"])
    with pytest.raises(ShardForbiddenError, match="No S3 credentials"):
        read(url)


def test_a_store_takes_a_profile_for_its_keys(known: Write, s3, bucket, url):
    known("[profile lab]\nendpoint_url=ENDPOINT\nregion=eu-north-1\nKEYS\n[profile empty]\nregion=eu-north-1\n")
    store = S3DataStore({"AWS_PROFILE": "lab"}, bucket=bucket)
    assert (store.endpoint.endpoint_url, store.endpoint.region) == (s3["AWS_ENDPOINT"], "eu-north-1")
    assert store.stat_shard(url).size == len(DATA)
    resource = ShardS3Resource(profile_name="lab").endpoint()
    assert resource is not None
    assert resource.stat(bucket, "a.tar").size == len(DATA)
    with pytest.raises(CredentialsError, match="'empty' holds no keys"):
        ShardS3Resource(profile_name="empty").endpoint()
