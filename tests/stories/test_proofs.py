"""What a PDS answers is proven by the signature of its account, or told."""

import httpx
import pytest

from atdata_core.atmosphere.record_format.record_keys import ENTRY
from tests.stories.conftest import Visibility

# Each story goes through the library, the command and Dagster, on the reference PDS.
pytestmark = pytest.mark.slow

PROOF = "/xrpc/com.atproto.sync.getRecord"
NUMBERS = list(range(6))


@pytest.fixture
def answers(monkeypatch):
    """By path, what becomes of what the network answers."""
    changed = {}
    handle = httpx.HTTPTransport.handle_request

    def handle_request(self, request):
        answer = handle(self, request)
        change = changed.get(request.url.path)
        if change is None or request.url.params.get("collection") != ENTRY:
            return answer
        answer.read()
        return change(answer)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle_request)
    return changed


def test_a_record_is_verified_by_its_signature_and_a_pds_that_lies_is_found_out(lab, answers):
    lab.insert("cells")
    with lab.publishing_to(lab.public, lab.public_url):
        lab.does("promote", "cells", "--license", "CC0-1.0")
    standing = Visibility((None, None, "CC0-1.0"), "public", NUMBERS, "published", "all", "ok", True)
    assert lab.seen("cells") == standing
    uri, signed = lab.uri("cells"), f", readable by anybody, signed by {lab.did}\n"
    assert lab.does("verify", uri).endswith(signed)
    assert all(lab.checks("cells").values())

    # The PDS shows what stood there before, with the proof of then.
    where = {"did": lab.did, "collection": ENTRY, "rkey": uri.rpartition("/")[2]}
    before = httpx.get(f"{lab.pds.url}{PROOF}", params=where).content
    shown = httpx.get(
        f"{lab.pds.url}/xrpc/com.atproto.repo.getRecord",
        params={"repo": lab.did, "collection": ENTRY, "rkey": where["rkey"]},
    ).json()
    assert lab.promote("cells", license="MIT") == uri
    assert lab.does("verify", uri).endswith(signed)
    answers[PROOF] = lambda answer: httpx.Response(200, content=before)
    found = lab.verified(uri)
    assert (found["state"], found["signed_by"], found["ended"]) == ("failed", None, 3)
    assert "another record there" in found["findings"][0]["problem"]
    assert lab.checks("cells")["record_resolves"] is False
    answers.clear()

    # Or a record that the account never signed so, under the CID of the one that it did.
    forged = {**shown, "value": {**shown["value"], "license": "LicenseRef-forged"}}
    answers["/xrpc/com.atproto.repo.getRecord"] = lambda answer: httpx.Response(200, json=forged)
    assert lab.verified(uri)["state"] == "failed"
    assert lab.checks("cells")["record_resolves"] is False
    answers.clear()

    # A PDS that has no proofs is named, and its answers are compared all the same.
    answers[PROOF] = lambda answer: httpx.Response(501, json={"error": "MethodNotImplemented"})
    without = lab.verified(uri)
    assert (without["state"], without["signed_by"], without["ended"]) == ("ok", None, 0)
    assert f"{lab.pds.url} gives no proofs" in without["notes"][0]
    assert "signed by" not in lab.does("verify", uri)
    assert all(lab.checks("cells").values())
    answers.clear()
    assert lab.does("verify", uri).endswith(signed)
    assert lab.stranger(uri) == NUMBERS


def test_what_only_the_labs_keys_read_is_never_ok_without_a_word(lab):
    lab.insert("cells")
    assert lab.plan("cells")["readers"][2] == "those who have keys"
    assert lab.tick() == {"cells": True}
    uri = lab.uri("cells")
    assert lab.seen("cells") == Visibility(
        (None, None, None),
        "lab",
        "ShardForbiddenError",
        "published",
        "2 of 2 cannot be read: needs a key",
        "private",
        False,
    )
    told = lab.does("verify", uri, "cells")
    assert [line.split()[0] for line in told.splitlines()] == ["private", "private"]
    assert told.count(f"signed by {lab.did}") == 2
    assert lab.checks("cells") == {
        "record_resolves": True,
        "shards_as_published": True,
        "samples_of_published_schema": True,
        "readable_anonymously": False,
        "schema_compatible": True,
        "license_known": False,
        "seen_by_the_network": True,
    }
    with lab.publishing_to(lab.public, lab.public_url):
        assert lab.night() is True
    assert (lab.uri("cells"), lab.seen("cells").verify) == (uri, "ok")
