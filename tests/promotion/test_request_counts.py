"""What a promotion without copying costs the PDS: requests, counted, the same however much is there."""

import httpx
import pytest

from atdata_core.atmosphere.record_format.build import schema_record
from atdata_core.atmosphere.record_format.record_keys import SCHEMA
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.stages.schema_stage import find_schema, publish_schema
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import MemoryLedger

TOGETHER = 200


@pytest.fixture
def add_schemas(lab, pds, account):
    """Write so many other schema records into the account's repository, as fast as a PDS takes them."""

    def add(local, count):
        said = {"identifier": account.handle, "password": account.password}
        with httpx.Client(base_url=f"{pds.url}/xrpc/", timeout=60) as http:
            token = http.post("com.atproto.server.createSession", json=said).raise_for_status().json()["accessJwt"]
            http.headers["Authorization"] = f"Bearer {token}"
            for start in range(0, count, TOGETHER):
                writes = [
                    {
                        "$type": "com.atproto.repo.applyWrites#create",
                        "collection": SCHEMA,
                        "rkey": f"lab.Other{number}:1.0.0",
                        "value": schema_record(
                            {**local, "name": f"Other{number}", "module": "lab"},
                            created_at="2026-01-01T00:00:00.000Z",
                        ),
                    }
                    for number in range(start, min(start + TOGETHER, count))
                ]
                http.post(
                    "com.atproto.repo.applyWrites", json={"repo": account.did, "writes": writes}
                ).raise_for_status()

    return add


@pytest.mark.parametrize("others", [0, 5_000])
def test_a_schema_is_found_with_one_request_among_any_number(lab, atmosphere, add_schemas, requests_of, others):
    local = lab.index.get_schema(lab.insert().schema_ref)
    published = publish_schema(local, atmosphere.client, MemoryLedger())
    add_schemas(local, others)

    # Also where nothing is remembered: on another machine, or after the ledger was lost.
    for ledger in (MemoryLedger(), state_of(lab.index).ledger):
        found = []
        assert (
            requests_of(
                lambda ledger=ledger, found=found: found.append(find_schema(local, atmosphere.client, ledger))
            )
            == 1
        )
        assert found[0].uri == published.uri
        assert requests_of(lambda ledger=ledger: publish_schema(local, atmosphere.client, ledger)) == 1


def test_a_promotion_with_a_known_schema_asks_four_times_at_first_and_three_times_unchanged(
    lab, atmosphere, requests_of
):
    first, second = lab.insert("first"), lab.insert("second", start=50)
    promote_to_atmosphere(first, lab.index, atmosphere.client)
    client = atmosphere.client

    # The name's label looked for, the schema read, the entry and the label written.
    assert requests_of(lambda: promote_to_atmosphere(second, lab.index, client, tags=["a"], license="MIT")) == 4
    # The schema, the entry and the label read.
    assert requests_of(lambda: promote_to_atmosphere(second, lab.index, client)) == 3
    assert requests_of(lambda: promote_to_atmosphere(first, lab.index, client)) == 3
    assert atmosphere.counts == [1, 2, 2]
