"""The catalogue as an asset: where a bucket is configured it follows the records, and writes what changed."""

import dagster as dg
import httpx
import pytest

from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.components import DatasetPromotion
from atdata_pipelines.config.settings import Settings
from web_pages import WebPage

CATALOGUE = dg.AssetKey("catalogue")


@pytest.fixture
def site_bucket(s3, bucket):
    """Beside that of the shards."""
    S3Endpoint.from_credentials(s3).client.create_bucket(Bucket=f"{bucket}-site")
    return f"{bucket}-site"


@pytest.fixture
def settings(site_bucket, box):
    given = {"bucket": site_bucket, "public_url": f"{box.public_url}/{site_bucket}"}
    return DatasetPromotion(catalogue=given).settings()


@pytest.fixture
def build(settings, defined, instance):
    """Materialize the catalogue; the metadata of its materialisation."""

    def call():
        definitions = defined(settings)
        job = definitions.get_repository_def().get_implicit_job_def_for_assets([CATALOGUE])
        result = job.execute_in_process(instance=instance, asset_selection=[CATALOGUE])
        [made] = result.asset_materializations_for_node("catalogue")
        return {name: value.value for name, value in made.metadata.items()}

    return call


def test_without_a_bucket_for_it_there_is_no_such_asset(defined):
    assert CATALOGUE not in defined().resolve_asset_graph().get_all_asset_keys()
    assert Settings().catalogue_bucket is None


# Two promotions, and three runs.
def test_a_run_puts_the_site_into_the_bucket_and_another_one_uploads_nothing(build, publish, site_bucket, listed):
    publish("pictures")
    first = build()
    assert (first["datasets"], first["removed"], first["unchanged"]) == (1, 0, 0)
    index = httpx.get(first["index"])
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    assert [str(each) for each in WebPage(index.text).all("h2")] == ["pictures"]
    before = {each["Key"]: each["LastModified"] for each in listed(site_bucket)}
    again = build()
    assert (again["written"], again["removed"], again["unchanged"]) == (0, 0, first["written"])
    assert {each["Key"]: each["LastModified"] for each in listed(site_bucket)} == before
    publish("others", start=20)
    third = build()
    assert third["datasets"] == 2
    assert third["unchanged"] >= 2


def test_its_condition_asks_for_it_after_records_and_once(settings, defined, instance):
    definitions = defined(settings)
    instance.add_dynamic_partitions(settings.partitions_name, ["a", "b"])
    cursor = None

    def requested():
        nonlocal cursor
        found = dg.evaluate_automation_conditions(definitions, instance, dg.AssetSelection.all(), cursor=cursor)
        cursor = found.cursor
        return found.get_num_requested(CATALOGUE)

    assert requested() == 0
    for name in ("a", "b"):
        instance.report_runless_asset_event(dg.AssetMaterialization("atmosphere_record", partition=name))
    assert [requested(), requested()] == [1, 0]
    instance.report_runless_asset_event(dg.AssetMaterialization("atmosphere_record", partition="b"))
    assert [requested(), requested()] == [1, 0]


@pytest.fixture
def listed(s3):
    """What lies in a bucket."""
    client = S3Endpoint.from_credentials(s3).client
    return lambda name: client.list_objects_v2(Bucket=name).get("Contents", [])
