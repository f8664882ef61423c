"""The documentation page's programs run as they stand on it; only the names that they presume are prepared."""

import os
import re
import socket
import subprocess
import sys
import textwrap

import httpx
import numpy as np
import pytest
from atdata.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata.local import LocalIndex, Repo
from numpy.typing import NDArray

import atdata
from atdata_pipelines.sandbox import Sandbox

BUCKETS = ("datasets-bucket", "public-datasets")


@pytest.fixture(scope="module")
def blocks(shared):
    """The page's Python programs, by the heading that they stand under."""
    page = next((shared / "seed").glob("*.txt")).read_text()
    found = {}
    for section in re.split(r"^##+ ", page, flags=re.MULTILINE):
        heading = section.split("\n", 1)[0]
        programs = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        if programs:
            (found[heading],) = programs
    return found


@pytest.fixture(scope="module")
def page_box(tmp_path_factory):
    """The services at the addresses, and with the accounts, that the page names."""
    for port in (6379, 9000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"the page's program wants port {port}, which something else holds")
    with Sandbox(
        tmp_path_factory.mktemp("page"),
        redis_port=6379,
        s3_port=9000,
        s3_access_key="minioadmin",
        s3_secret_key="minioadmin",
        handle="myhandle.bsky.social",
        password="app-password",
        buckets=BUCKETS,
    ) as box:
        httpx.post(
            f"{box.pds_url}/xrpc/com.atproto.server.createAccount",
            json={
                "handle": "handle.bsky.social",
                "password": "app-password",
                "email": "h@example.org",
                "inviteCode": box.invite_code,
            },
        ).raise_for_status()
        yield box


@pytest.fixture
def page_env(page_box, monkeypatch, tmp_path):
    """Nothing set but the two variables, and the password of Redis, in an empty folder."""
    for name in [name for name in os.environ if name.startswith(("ATDATA_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ATDATA_PDS_URL", page_box.pds_url)
    monkeypatch.setenv("ATDATA_PLC_URL", page_box.plc_url)
    monkeypatch.setenv("ATDATA_REDIS_URL", page_box.redis_url)
    monkeypatch.chdir(tmp_path)
    return page_box


@atdata.packable
class Picture:
    """A small picture."""

    pixels: NDArray
    title: str


def stored(box, name, *, start=0):
    """A dataset in the lab's repo, with its schema in the index."""
    from atdata_core.shards.tar_samples import ShardWriter

    path = f"{name}.tar"
    with open(path, "wb") as file, ShardWriter(file) as shard:
        for number in range(start, start + 4):
            sample = Picture(pixels=np.full((2, 2), number, dtype=np.uint8), title=f"{name} {number}")
            shard.write({**sample.as_wds, "__key__": f"{number:04d}"})
    entry, _ = Repo(s3_credentials=box.s3, hive_path=f"datasets-bucket/{name}").insert(
        atdata.Dataset[Picture](path), name=name
    )
    LocalIndex().publish_schema(Picture, version="1.0.0")
    return entry


@pytest.fixture
def presumed(page_env):
    """The names that the shorter programs presume."""
    client = AtmosphereClient()
    client.login("handle.bsky.social", "app-password")
    return {
        "entry": stored(page_env, "my-dataset"),
        "local_index": LocalIndex(),
        "client": client,
        "promote_to_atmosphere": atdata.promote.promote_to_atmosphere,
    }


def run(program, names=None):
    namespace = {"__name__": "page", **(names or {})}
    exec(compile(program, "page", "exec"), namespace)
    return namespace


def test_the_complete_example_runs_unedited(blocks, page_env, tmp_path):
    program = tmp_path / "page.py"
    program.write_text(blocks["Complete Workflow Example"])
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    uri = re.search(r"Dataset published: (at://\S+)", done.stdout)[1]
    assert "Name: feature-vectors-v1" in done.stdout
    assert "s3://datasets-bucket/features/" in done.stdout
    again = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again.stderr
    index = AtmosphereIndex(AtmosphereClient())
    record = index.get_dataset(uri)
    assert (record.description, record.license) == ("Feature vectors for classification", "MIT")
    assert record.tags == ["features", "embeddings"]


def test_basic_usage_runs_in_a_process_that_knows_no_s3_keys(blocks, page_env, capsys):
    stored(page_env, "my-dataset")
    with pytest.warns(UserWarning, match="recorded digest"):
        uri = run(blocks["Basic Usage"])["at_uri"]
    assert f"Published: {uri}" in capsys.readouterr().out
    assert AtmosphereIndex(AtmosphereClient()).get_dataset(uri).name == "my-dataset"


def test_with_metadata(blocks, presumed):
    uri = run(blocks["With Metadata"], presumed)["at_uri"]
    record = AtmosphereIndex(AtmosphereClient()).get_dataset(uri)
    assert (record.name, record.description) == ("my-dataset-v2", "Training images")
    assert (record.tags, record.license) == (["images", "training"], "MIT")


def test_schema_deduplication(blocks, presumed, page_env):
    presumed["entry1"], presumed["entry2"] = stored(page_env, "one"), stored(page_env, "two", start=9)
    names = run(blocks["Schema Deduplication"], presumed)
    index = AtmosphereIndex(AtmosphereClient())
    first, second = index.get_dataset(names["uri1"]), index.get_dataset(names["uri2"])
    assert first.uri != second.uri
    assert first.schema_ref == second.schema_ref


def test_existing_urls_are_kept_by_default(blocks, presumed):
    uri = run(blocks["Use Existing URLs (Default)"], presumed)["at_uri"]
    urls = AtmosphereIndex(AtmosphereClient()).get_dataset(uri).data_urls
    assert urls == atdata.Dataset[Picture](presumed["entry"].data_urls).shard_list


def test_copy_to_new_storage(blocks, presumed, page_env, tmp_path):
    lines = "".join(f"{name}={value}\n" for name, value in page_env.s3.items())
    (tmp_path / "new-s3-creds.env").write_text(lines)
    uri = run(blocks["Copy to New Storage"], presumed)["at_uri"]
    (url,) = AtmosphereIndex(AtmosphereClient()).get_dataset(uri).data_urls
    assert url.startswith("s3://public-datasets/promoted/my-dataset/")


def test_error_handling(blocks, presumed, capsys):
    program = textwrap.dedent(blocks["Error Handling"])
    run(program, presumed)
    assert capsys.readouterr().out == ""
    presumed["entry"].data_urls.clear()
    run(program, presumed)
    assert "Invalid entry: Dataset 'my-dataset' has no data URLs" in capsys.readouterr().out
    presumed["local_index"].redis.delete(*presumed["local_index"].redis.keys("LocalSchema:*"))
    presumed["entry"] = presumed["local_index"].get_entry_by_name("my-dataset")
    run(program, presumed)
    assert "Missing schema: " in capsys.readouterr().out
