"""``pds`` as the destination: by variable, by component, by command, each the blobs of the account."""

import json

import dagster as dg
import pytest

from atdata_core.errors import RefusedError
from atdata_core.promote import verify_dataset
from atdata_pipelines.components import DatasetPromotion
from atdata_pipelines.config.resources import AtprotoResource, DestinationResource


def test_a_component_and_a_variable_name_the_blobs_of_the_account(account_environ, account, monkeypatch):
    named = f"blobs of {account.did}"
    component = DatasetPromotion(destination="pds").settings()
    assert component.destination.store(None, AtprotoResource()).destination == named
    assert DatasetPromotion().settings().destination.store(None, AtprotoResource()) is None
    monkeypatch.setenv("ATDATA_PUBLISH_TO", "pds")
    assert DestinationResource().store(None, AtprotoResource()).destination == named
    monkeypatch.setenv("ATDATA_PUBLISH_BUCKET", "open-data")
    with pytest.raises(RefusedError, match="Leave out the other"):
        DestinationResource().store(None, AtprotoResource())
    # What a component says goes before the environment.
    assert component.destination.store(None, AtprotoResource()).destination == named
    monkeypatch.setenv("ATDATA_PUBLISH_TO", "elsewhere")
    with pytest.raises(RefusedError, match=r"'elsewhere'\. Give pds"):
        DestinationResource().store(None, AtprotoResource())


# Two runs of Dagster.
@pytest.mark.slow
def test_a_command_makes_shards_blobs_and_later_runs_leave_them(lab, command, instance, promote, s3):
    lab.insert("pictures")
    planned = command("plan", "pictures", "--to", "pds")
    assert "at blobs of did:plc:" in planned.stdout
    assert "2 shards" in next(line for line in planned.stdout.splitlines() if line.startswith("  copy"))
    done = command("promote", "pictures", "--to", "pds", "--json")
    assert done.exit_code == 0, done.output
    uri = json.loads(done.stdout.splitlines()[-1])["uri"]
    found = verify_dataset(uri)
    assert (found.ok, found.anonymous) == (True, 2)
    assert promote("pictures") == uri
    assert json.loads(command("plan", "pictures", "--json").stdout)["records"] == 0
    told = command("retract", "pictures", "--yes")
    assert "blobs  2 shards, which the PDS drops with the record" in told.stdout


# A run of Dagster.
@pytest.mark.slow
def test_an_instance_promotes_to_blobs_stage_by_stage(lab, defined, instance):
    lab.insert("pictures")
    settings = DatasetPromotion(destination="pds").settings()
    instance.add_dynamic_partitions("dataset", ["pictures"])
    job = defined(settings).resolve_job_def("promote")
    result = job.execute_in_process(partition_key="pictures", instance=instance)
    assert result.success
    [record] = result.asset_materializations_for_node("atmosphere_record")
    uri = str(record.metadata["at_uri"].value)
    assert verify_dataset(uri).ok
    assert isinstance(record, dg.AssetMaterialization)
