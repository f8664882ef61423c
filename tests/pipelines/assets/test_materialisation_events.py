"""What Dagster's pages show of the partitions of a bulk."""

import secrets

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from atdata_pipelines.config.settings import DEFAULT, STAGES


@pytest.fixture
def shown(instance):
    """The names among these that the pages show in a state, by stage."""

    def of(state, names):
        found = {}
        for stage in STAGES:
            status = get_and_update_asset_status_cache_value(instance, dg.AssetKey(stage), DEFAULT.partitions)
            subset = getattr(status, f"deserialize_{state}_partition_subsets")(DEFAULT.partitions)
            if keys := {*subset.get_partition_keys()} & {*names}:
                found[stage] = keys
        return found

    return of


# Two runs: what the second one marks is shown in the place of what the first one did.
def test_one_that_failed_is_shown_as_failed_until_it_is_promoted(lab, run_bulk, shown):
    good, broken = (f"{secrets.token_hex(4)}-{what}" for what in ("good", "broken"))
    lab.insert(good)
    lab.register(broken, f"s3://{lab.bucket}/not-there.tar")
    assert not run_bulk(datasets=[good, broken]).success
    assert shown("failed", [good, broken]) == {"local_dataset": {broken}}
    assert shown("in_progress", [good, broken]) == {}
    lab.insert(broken)
    assert run_bulk(datasets=[broken]).success
    assert shown("failed", [good, broken]) == shown("in_progress", [good, broken]) == {}
