"""What Dagster's pages show of the partitions of a bulk."""

import secrets

import dagster as dg

from atdata_pipelines.config.settings import STAGES


# Two runs: what the second one marks is shown in the place of what the first one did.
def test_one_that_failed_has_no_materialisation_but_a_reason_until_it_is_promoted(lab, run_bulk, instance):
    good, broken = (f"{secrets.token_hex(4)}-{what}" for what in ("good", "broken"))

    def materialised(name):
        return tuple(stage for stage in STAGES if name in instance.get_materialized_partitions(dg.AssetKey(stage)))

    lab.insert(good)
    lab.register(broken, f"s3://{lab.bucket}/not-there.tar")
    assert not run_bulk(datasets=[good, broken]).success
    assert (materialised(good), materialised(broken)) == (STAGES, ())
    [record] = instance.fetch_observations(dg.AssetKey("local_dataset"), limit=10).records
    seen = record.event_log_entry.asset_observation
    assert (seen.partition, "not-there.tar" in str(seen.metadata["not_promoted"].value)) == (broken, True)
    lab.insert(broken)
    assert run_bulk(datasets=[broken]).success
    assert materialised(broken) == STAGES
