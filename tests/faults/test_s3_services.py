"""S3 as labs meet it, behind a proxy: what a bucket asks for is given, what turns a request away is named."""

from __future__ import annotations

import re

import pytest

from atdata_core.errors import AtdataError, CredentialsError, ShardForbiddenError
from atdata_core.promote import promote_to_atmosphere
from faulty.edge import Rule
from faulty.s3_services import Always, InRegion, ObjectLock, RequesterPays, refusal

BOTH = ("source", "destination")

ASKS = {
    "Object Lock": ObjectLock(*BOTH),
    "another region, by 400": InRegion("eu-west-3", *BOTH),
    "another region, by 301": InRegion("eu-west-3", *BOTH, status=301),
    "requester pays": RequesterPays("source"),
}

REFUSES = {
    "an expired token": (Always(refusal(400, "ExpiredToken"), *BOTH), CredentialsError, "token .* has expired"),
    "a token of other keys": (
        Always(refusal(400, "InvalidToken"), *BOTH),
        CredentialsError,
        "does not know the",
    ),
    "a wrong clock": (Always(refusal(403, "RequestTimeTooSkewed"), *BOTH), CredentialsError, "the clock of this"),
    "a signature of a wrong clock": (
        Always(refusal(403, "SignatureDoesNotMatch"), *BOTH, date="Thu, 01 Jan 2015 00:00:00 GMT"),
        CredentialsError,
        r"the clock of this machine .* s ahead\)",
    ),
    "a region that is nowhere else": (
        Always(refusal(301, "PermanentRedirect"), *BOTH, x_amz_bucket_region="me-south-1"),
        CredentialsError,
        "is in the region me-south-1",
    ),
    "a redirect that names nothing": (Always(refusal(302, "Found"), *BOTH), AtdataError, "302"),
    "virtual-hosted addresses only": (
        Always(refusal(403, "SecondLevelDomainForbidden", "Please use virtual hosted style to access."), *BOTH),
        AtdataError,
        "AWS_S3_ADDRESSING_STYLE=virtual",
    ),
    "a payer that is not named": (
        Always(refusal(403, "AccessDenied"), "destination"),
        ShardForbiddenError,
        "AWS_REQUEST_PAYER=requester",
    ),
}


@pytest.mark.measured
def test_what_a_bucket_asks_for_is_given_from_the_first_shard_to_the_record(lane, reliability):
    lane.credentials["AWS_REQUEST_PAYER"] = "requester"
    for number, rule in enumerate(ASKS.values()):
        lane.edge.rule = rule
        entry = lane.insert(f"set-{number}", shards=2, start=100 * number, floats=300_000)
        lane.promote(entry, copy=True)
        lane.edge.rule = Rule()
    assert lane.counts()[1:] == [len(ASKS)] * 2
    assert len(lane.objects()) == 2 * len(ASKS)
    reliability(
        f"S3 that asks for something ({', '.join(ASKS)}): insert, copy, publish",
        "1 entry and 1 label each, every shard copied",
        f"so for all {len(ASKS)}",
        runs=len(ASKS),
    )


@pytest.mark.measured
def test_what_turns_requests_away_is_named_publishes_nothing_and_then_publishes_once(lane, reliability):
    entry = lane.insert(shards=2)
    for name, (rule, error, said) in REFUSES.items():
        lane.edge.rule = rule
        with pytest.raises(error) as caught:
            lane.promote(entry, copy=True)
        lane.edge.rule = Rule()
        assert re.search(said, str(caught.value), re.DOTALL), (name, str(caught.value))
        assert lane.counts()[1:] == [0, 0], name
        assert rule.turned_away < 60, name
    lane.promote(entry, copy=True)
    assert lane.counts()[1:] == [1, 1]
    reliability(
        f"S3 that turns requests away ({', '.join(REFUSES)})",
        "the error names the cause, nothing is published; then 1 entry",
        f"so for all {len(REFUSES)}",
        runs=len(REFUSES),
    )


@pytest.mark.measured
def test_address_and_keys_of_an_aws_profile_are_enough(lane, reliability, tmp_path, monkeypatch):
    entry = lane.insert(shards=2)
    config = tmp_path / "config"
    keys = lane.credentials
    config.write_text(
        f"[profile lab]\nservices = ours\naws_access_key_id = {keys['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {keys['AWS_SECRET_ACCESS_KEY']}\n"
        f"[services ours]\ns3 =\n  endpoint_url = {keys['AWS_ENDPOINT']}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    promote_to_atmosphere(entry, lane.index, lane.user, data_store=lane.data_store())
    assert (lane.counts()[1:], len(lane.objects())) == ([1, 1], 2)
    reliability(
        "S3 address and keys from a profile of ~/.aws/config (`services`), no variable but AWS_PROFILE",
        "published, every shard copied",
        "1 entry, 1 label, 2 copies",
    )
