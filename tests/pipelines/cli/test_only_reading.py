"""No right to write is needed by status, plan and verify: on a replica, for a user who only reads, at maxmemory."""

import json
import time

import msgpack
import pytest
import redis

from atdata_core.common.urls import expand
from atdata_core.errors import EntryNotFoundError, ServiceRefusedError
from atdata_core.local import LocalDatasetEntry, LocalIndex
from faulty.valkey import Valkey


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """A primary and its replica."""
    primary = Valkey(tmp_path_factory.mktemp("primary"), ["--repl-diskless-sync-delay", "0"])
    port = primary.url.rpartition(":")[2].partition("/")[0]
    replica = Valkey(tmp_path_factory.mktemp("replica"), ["--replicaof", f"127.0.0.1 {port}"])
    yield primary, replica
    replica.kill()
    primary.kill()


@pytest.fixture
def primary(servers, environ, monkeypatch):
    """A client of the primary, which is what the environment names."""
    monkeypatch.setenv("ATDATA_REDIS_URL", servers[0].url)
    with redis.Redis.from_url(servers[0].url) as client:
        client.flushall()
        yield client


@pytest.fixture(params=["replica", "reader", "full"])
def only_reads(request, servers, primary, monkeypatch):
    """Make the environment name a Redis that takes no writes."""

    def turn():
        url = servers[0].url
        if request.param == "reader":
            primary.execute_command("ACL", "SETUSER", "reader", "reset", "on", ">word", "~*", "+@read")
            url = url.replace("//", "//reader:word@")
        elif request.param == "full":
            primary.config_set("maxmemory", 1)
        else:
            url = servers[1].url
            with redis.Redis.from_url(url) as replica:
                until = time.monotonic() + 20
                while replica.info("replication")["master_link_status"] != "up" or not primary.wait(1, 100):
                    assert time.monotonic() < until
                    time.sleep(0.05)
        monkeypatch.setenv("ATDATA_REDIS_URL", url)
        with pytest.raises(ServiceRefusedError):
            LocalIndex().register(LocalDatasetEntry("never", "local://schemas/a.B@1.0.0", ["never.tar"]))

    yield turn
    primary.config_set("maxmemory", 0)


def written_elsewhere(client, entry, name, urls):
    """What another program writes, without a word to anybody."""
    other = type(entry)(name, entry.schema_ref, urls)
    values = {"name": name, "schema_ref": other.schema_ref, "data_urls": msgpack.packb(urls), "cid": other.cid}
    client.hset(f"LocalDatasetEntry:{other.cid}", mapping=values)
    return other


def test_status_plan_and_verify_need_no_right_to_write(primary, lab, publish, command, only_reads):
    # Over a second: a replica is made, and all three commands are run.
    uri = publish("pictures")
    new = lab.insert("unpublished", start=3)
    before = [json.loads(line) for line in command("status", "--json").stdout.splitlines()]
    planned = command("plan", "unpublished", "--json")
    assert planned.exit_code == 0, planned.output
    first, second = expand(new.data_urls)
    found = written_elsewhere(primary, new, "found", [first])
    newer = written_elsewhere(primary, new, "unpublished", [second])
    only_reads()
    every = command("status", "--json")
    assert every.exit_code == 0, every.output
    told = {each["name"]: each for each in map(json.loads, every.stdout.splitlines())}
    assert sorted(told) == ["found", "pictures", "unpublished"]
    assert told["pictures"] == next(each for each in before if each["name"] == "pictures")
    assert (told["pictures"]["state"], told["pictures"]["uri"]) == ("published", uri)
    assert told["found"]["state"] == "due"
    for name in ("pictures", "unpublished", "found"):
        one = command("status", name)
        assert one.exit_code == 0, one.output
    missing = command("status", "pictoures")
    assert (missing.exit_code, "Near it: pictures." in missing.stderr) == (1, True)
    for name in ("pictures", "found", "unpublished"):
        result = command("plan", name, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["entry"] == ("keep" if name == "pictures" else "create")
    verified = command("verify", "pictures")
    assert verified.exit_code == 0, verified.output
    index = LocalIndex()
    assert len(index.list_datasets()) == 3
    assert index.get_entry_by_name("unpublished") == newer
    assert index.get_entry_by_name("found") == index.get_entry(found.cid) == found
    assert [*index.names()] == ["found", "pictures", "unpublished"]
    assert {entry.cid for entry in index.entries} >= {found.cid, newer.cid, new.cid}
    refused = command("promote", "unpublished")
    assert refused.exit_code == 1
    assert "Redis at" in refused.stderr
    assert "Check the password" not in refused.output


def test_an_entry_that_cannot_be_read_is_told_by_who_only_reads(primary, lab, only_reads):
    lab.insert("pictures")
    primary.hset("LocalDatasetEntry:broken", mapping={"name": "torn", "schema_ref": "x", "data_urls": b"\xc1"})
    primary.set("Label:pictures@", "no label")
    only_reads()
    with pytest.warns(UserWarning, match="LocalDatasetEntry:broken in Redis cannot be read and is left out"):
        assert [entry.name for entry in LocalIndex().list_datasets()] == ["pictures"]


def test_names_that_a_deletion_took_stay_gone_for_who_only_reads(primary, lab, only_reads):
    urls = lab.insert("gone").data_urls
    lab.register("gone too", urls)
    primary.delete(f"LocalDatasetEntry:{lab.index.get_entry_by_name('gone').cid}")
    lab.register("kept", urls)
    only_reads()
    index = LocalIndex()
    assert [entry.name for entry in index.list_datasets()] == [*index.names()] == ["kept"]
    with pytest.raises(EntryNotFoundError):
        index.get_entry_by_name("gone")
