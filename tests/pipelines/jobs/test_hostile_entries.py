"""What a hostile member of the lab writes to Redis is published truly or refused by name, and hides nobody else."""

import json
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import Future

import pytest

from atdata_core.atmosphere import AtmosphereIndex
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL
from atdata_core.errors import AtdataError, EntryNotFoundError
from atdata_core.local import LocalIndex
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.operations.status import all_statuses
from atdata_core.promotion.plan import plan_promotion
from atdata_core.state.index_state import state_of
from atdata_pipelines.config.settings import DEFAULT, Services
from hostile.entries import Honest, Member, write
from untrusted import listening

AMOUNT = 500
SECONDS = 20
"""That one entry may take, planned and promoted."""
LONGEST = 5_000
"""Characters of a message."""
HONEST = ("honest-0", "honest-1", "honest-2")


def _tried(name, index, client):
    """What comes of one attack: where it is planned, where it is promoted, each our own error or none."""
    try:
        entry = index.get_entry_by_name(name)
    except AtdataError as error:
        return error, error
    try:
        plan_promotion(entry, index, client)
    except AtdataError as error:
        planned = error
    else:
        planned = None
    try:
        promote_to_atmosphere(entry, index, client)
    except AtdataError as error:
        return planned, error
    return planned, None


def _in_time(call, *arguments):
    """What it gives; a thread that hangs is told, and left. (A signal might break a lock that is being taken.)"""
    given = Future()

    def work():
        try:
            given.set_result(call(*arguments))
        except BaseException as error:
            given.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return given.result(SECONDS)


@pytest.fixture
def siege(lab, command, tick, run_bulk, stranger, monkeypatch):
    """``siege(amount, seed)``: so much hostile is written beside honest datasets, and everything goes on."""

    def besiege(amount, seed):
        honest = [lab.insert(name, start=6 * number) for number, name in enumerate(HONEST)]
        index = LocalIndex()
        client = Services(*DEFAULT.resources().values()).atproto.client()
        first = honest[0]
        with listening() as (trap, hits), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            said = Honest(first.schema_ref, first.data_urls, index.get_schema(first.schema_ref))
            attacks = Member(said, trap, seed).attacks(amount)
            write(index.redis, attacks)
            listed = {entry.name: entry for entry in index.list_datasets()}
            assert set(HONEST) <= set(listed)
            assert index.list_schemas()
            # An entry that expires meanwhile was there, and is not.
            passing = {attack.name.decode() for attack in attacks if attack.kind == "passing"}
            told = {status.name for status in all_statuses(index, state_of(index).ledger, client.did)}
            assert told >= set(listed) - passing

            outcomes, messages, longest = Counter(), [], 0.0
            for attack in attacks:
                name = attack.name.decode(errors="replace")
                start = time.monotonic()
                planned, refused = _in_time(_tried, name, index, client)
                longest = max(longest, time.monotonic() - start)
                if refused is None:
                    assert planned is None, f"{attack.kind}: refused by the plan and published: {planned}"
                    outcomes["published"] += 1
                    continue
                # What is no entry at all, and what was left out with a warning, is not there.
                kind = "left out" if isinstance(refused, EntryNotFoundError) else type(refused).__name__
                outcomes[kind] += 1
                messages.append(refused.message)

            ticked = tick()
            bulk = run_bulk()
            status, of_one = command("status"), command("status", "honest-1")
            as_json = command("status", "--json")
            plan = command("plan", "honest-2")
        for result in (status, of_one, as_json, plan):
            assert result.exit_code == 0, (result.output, result.exception)
        assert all(json.loads(line)["name"] for line in as_json.stdout.splitlines())
        assert all(character.isprintable() or character == "\n" for character in status.output)
        # What an entry names as its shard is asked for, on the lab's own network too; nothing else is.
        assert set(hits) <= {"/a.tar"}
        said = [str(each.message) for each in warned] + messages + tick.state.logged + [str(ticked.skip_message)]
        assert max(map(len, said)) <= LONGEST * 20
        assert max(map(len, messages)) <= LONGEST
        said += [status.output, as_json.output]
        forbidden = {text for attack in attacks for text in attack.forbidden}
        assert [text for text in forbidden for each in said if text in each] == []

        records = list(stranger.iter_records(ENTRY, repo=client.did))
        published = Counter(record.value["name"] for record in records)
        assert [published[name] for name in HONEST] == [1, 1, 1]
        labels = Counter(record.value["name"] for record in stranger.iter_records(LABEL, repo=client.did))
        assert [labels[name] for name in HONEST] == [1, 1, 1]
        # Whatever is published names bytes that are there, with their true digests.
        true = {url: facts.sha256 for each in honest for url, facts in index.shard_claims(each.cid).items()}
        reader = AtmosphereIndex(stranger)
        for record in records:
            shards = reader.get_dataset(record.uri).shards
            assert shards
            assert all(true[shard.url] == shard.sha256 for shard in shards)
        return outcomes, longest, bulk, tick.state.logged

    return besiege


@pytest.mark.slow
def test_a_sample_of_what_a_hostile_member_writes_hides_no_honest_dataset(siege):
    outcomes, *_ = siege(80, 0)
    assert outcomes["published"]
    assert sum(outcomes.values()) == 80


@pytest.mark.faults
def test_what_a_hostile_member_writes_is_published_truly_or_refused_by_name(siege, reliability):
    outcomes, longest, *_ = siege(AMOUNT, 0)
    assert outcomes["published"]
    assert sum(outcomes.values()) == AMOUNT
    refused = outcomes.total() - outcomes["published"] - outcomes["left out"]
    reliability(
        "entries, metadata, schemas, labels and keys that a hostile member of the lab writes to Redis, beside "
        "three honest datasets",
        f"{AMOUNT}: published truly, or refused or left out by an error of ours, each in {SECONDS} s; no file "
        "of theirs fetched, no secret told; list, status, plan, sensor and bulk go on; the honest published once",
        f"{outcomes['published']} published truly, {refused} refused by {len(outcomes) - 2} kinds of errors, "
        f"{outcomes['left out']} left out; {longest:.1f} s at most; each honest one has 1 entry and 1 label",
        runs=AMOUNT,
    )
