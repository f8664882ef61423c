import json
import subprocess
import sys

import pytest

from atdata_core.atmosphere.record_format.record_keys import LABEL
from atdata_pipelines.config.resources import AtprotoResource


def test_an_outsider_verifies_an_at_uri_with_nothing_but_the_network(publish, account_environ, tmp_path):
    # Long: a process of its own, that has nothing of this one.
    uri = publish()
    theirs = ("ATDATA_PDS_URL", "ATDATA_PLC_URL", "ATDATA_ALLOW_PRIVATE")
    done = subprocess.run(
        [sys.executable, "-m", "atdata_pipelines", "verify", uri],
        cwd=tmp_path,
        env={name: account_environ[name] for name in theirs} | {"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"ok pictures {uri}: 2 of 2 shards, ")
    did = uri.removeprefix("at://").partition("/")[0]
    assert done.stdout.endswith(f" bytes, 6 samples, readable by anybody, signed by {did}\n")


@pytest.fixture
def without_redis(publish, monkeypatch):
    """Names are looked up on the network: no Redis and no password are needed once things are published."""

    def leave():
        for name in ("ATDATA_REDIS_URL", "ATDATA_APP_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)

    return leave


def test_names_are_looked_up_by_their_labels(publish, without_redis, account, command, monkeypatch):
    one, two = publish("one"), publish("lab/two")
    without_redis()
    result = command("verify", "one", "lab/two", f"{account.handle}/one", f"{account.did}/lab/two")
    assert result.exit_code == 0, result.output
    assert [line.split()[2].rstrip(":") for line in result.stdout.splitlines()] == [one, two, one, two]
    every = command("verify", "--all", "--sample", "1", "--json")
    told = [json.loads(line) for line in every.stdout.splitlines()]
    assert {each["uri"] for each in told} == {one, two}
    assert all(each["ok"] and (each["shards"], each["shards_checked"]) == (2, 1) for each in told)
    monkeypatch.delenv("ATDATA_HANDLE")
    missing = command("verify", "one")
    assert missing.exit_code == 1
    assert "ATDATA_HANDLE is not set" in missing.output
    assert command("verify", f"{account.handle}/one", f"\u2068@{account.handle.upper()}/one").exit_code == 0


def test_what_differs_stands_on_lines_of_its_own_and_ends_with_3(publish, spoil, stranger, command):
    good, bad = publish("good"), publish("bad", start=50)
    url = stranger.get_record(bad).value["storage"]["shards"][1]["url"]
    spoil(url)
    assert command("verify", "good", "bad").exit_code == 3
    result = command("verify", "good", "bad", "baad")
    # What could not be looked at counts more.
    assert result.exit_code == 1
    unknown = json.loads(command("verify", "baad", "--json").stdout)
    assert (unknown["name"], unknown["uri"], unknown["state"]) == ("baad", None, "failed")
    first, *others = result.stdout.splitlines()
    assert first.startswith(f"ok good {good}: ")
    assert others[0] == f"FAILED bad {bad}: 2 findings, 2 of 2 shards read"
    assert others[1].startswith(f"  {url}: other bytes than were published: SHA-256 (expected ")
    assert others[2].startswith(
        f"  {url}: 1 of 3 samples are no Picture of the published schema; the first: sample '"
    )
    assert others[3].startswith("UNREACHABLE baad: 1 finding")
    assert "Near it: bad." in others[4]
    assert result.stderr == "2 of 3 datasets are not as published, or could not be checked.\n"
    broken = json.loads(command("verify", bad, "--json").stdout)
    assert [finding["where"] for finding in broken["findings"]] == [url, url]


def test_a_dataset_without_a_label_is_found_by_its_at_uri_alone(publish, command, stranger, account):
    uri = publish()
    (label,), _ = stranger.list_records(LABEL, repo=account.did)
    AtprotoResource().client().delete(LABEL, label.uri.rpartition("/")[2])
    assert "is found by its at-uri alone" in command("verify", "pictures").output
    result = command("verify", uri)
    assert result.exit_code == 0
    assert "  note: No label 'pictures' points at it" in result.stdout


def test_verify_asks_for_something_to_verify(account_environ, command):
    assert command("verify").exit_code == 2
    assert command("verify", "--all", "one").exit_code == 2
    assert command("verify", "--all").output == "This account has published no datasets.\n"
    assert "no at-uri" in command("verify", "at://nonsense").output


def test_what_only_this_machines_keys_read_is_private_and_fails_where_it_should_be_public(lab, publish, command):
    from atdata_core.promote import promote_to_atmosphere

    public = publish("open")
    private = promote_to_atmosphere(lab.insert("closed", start=50), lab.index, AtprotoResource().client())
    result = command("verify", "open", "closed")
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = result.stdout.splitlines()
    assert first.startswith(f"ok open {public}: 2 of 2 shards, ")
    assert second.startswith(f"private closed {private}: 2 of 2 shards, ")
    told = ", 2 of the shards cannot be read anonymously (but with this machine's keys), signed by did:plc:"
    assert told in second
    asked = command("verify", "open", "closed", "--public")
    assert (asked.exit_code, asked.stdout) == (3, result.stdout)
    assert asked.stderr == "1 of 2 datasets has shards that cannot be read anonymously.\n"
    assert command("verify", "open", "--public").exit_code == 0
    told = [json.loads(line) for line in command("verify", "--all", "--json").stdout.splitlines()]
    assert {(each["name"], each["state"]) for each in told} == {("open", "ok"), ("closed", "private")}
    assert {each["signed_by"] for each in told} == {private.removeprefix("at://").partition("/")[0]}
