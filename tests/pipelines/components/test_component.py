"""The pipeline in another team's project: ten lines of YAML, and instances that do not collide."""

import json
import re
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from dagster_aws.s3 import S3Resource

from atdata_core.errors import RefusedError
from atdata_pipelines.cli.context import store
from atdata_pipelines.components import DatasetPromotion
from atdata_pipelines.components.dataset_promotion import promotion_definitions
from atdata_pipelines.config.environment import MissingVariableError
from atdata_pipelines.config.hooks import Hooks
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.resources import RedisResource
from atdata_pipelines.config.settings import STAGES, Settings
from atdata_pipelines.jobs.promotion_jobs import BULK_JOB, JOB, BulkConfig, bulk_config, run_config
from dg_process import DgProcess

ROOT = Path(__file__).resolve().parents[3]
TYPE = "atdata_pipelines.components.DatasetPromotion"
MARKED = dg.DagsterEventType.ASSET_MATERIALIZATION
MATERIALIZE = "__ASSET_JOB"
"""What Dagster runs for the button, for backfills and for automation conditions."""

DEFINITIONS = """
from pathlib import Path

import dagster as dg


@dg.definitions
def defs():
    own = dg.Definitions(assets=[rendered], resources={"redis": dg.ResourceDefinition.none_resource()})
    return dg.Definitions.merge(dg.load_from_defs_folder(path_within_project=Path(__file__).parent), own)


@dg.asset
def rendered() -> None: ...
"""
IMAGES = f"""
type: {TYPE}
attributes:
  key_prefix: images
  group: pictures
  pattern: images-*
  upstream: rendered
  destination: {{bucket: open-images, public_url: https://data.example.org, secret_access_key_env: OPEN_SECRET}}
  license: CC-BY-4.0
  tags: [microscopy]
  sensor: true
  cron: "30 1 * * *"
"""
TABLES = f"""
type: {TYPE}
attributes: {{key_prefix: [lab, tables], pattern: table-*, cron: null, verification_cron: null, automation: true}}
"""


@pytest.fixture(scope="module")
def dg_process(tmp_path_factory):
    """One for all: to import dg and the pipeline takes 6 of the 10 seconds of these tests."""
    process = DgProcess(tmp_path_factory.mktemp("home"))
    yield process
    process.close()


@pytest.fixture
def project(tmp_path, team_pyproject, dg_process):
    """A project of a team that has nothing but its own asset and resource; ``call(...)`` runs dg there."""
    (tmp_path / "team" / "defs").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(team_pyproject)
    (tmp_path / "team" / "__init__.py").touch()
    (tmp_path / "team" / "definitions.py").write_text(DEFINITIONS)

    def call(*arguments):
        return dg_process.dg(tmp_path, *arguments)

    def instance(name, yaml):
        folder = tmp_path / "team" / "defs" / name
        folder.mkdir()
        (folder / "defs.yaml").write_text(yaml)

    def executors(**variables):
        """What the project's jobs, that of "Materialize" among them, are done by."""
        code = (
            "import json; from team.definitions import defs\n"
            "jobs = defs.load_fn().get_repository_def().get_all_jobs()\n"
            "print(json.dumps({job.name: job.executor_def.name for job in jobs}))"
        )
        return json.loads(dg_process.python(tmp_path, code, **variables))

    call.instance, call.executors, call.folder = instance, executors, tmp_path
    return call


@pytest.mark.slow
def test_a_project_lists_scaffolds_and_checks_an_instance_as_the_page_types_it(project):
    page = (ROOT / "docs" / "how-to" / "dagster-project.md").read_text()
    said = {}
    for line in re.findall(r"^dg (.+)$", page, flags=re.MULTILINE):
        code, said[line] = project(*line.split())
        assert code == 0, said
    assert TYPE in said["list components"]
    written = (project.folder / "team" / "defs" / "images" / "defs.yaml").read_text()
    assert all(line in written for line in (f"type: {TYPE}", "key_prefix: images", "pattern: images*"))
    code, found = project("check", "defs")
    assert code == 0, found


def test_the_pattern_of_a_scaffolded_instance_fits_names_that_begin_with_its_own(project):
    assert project("scaffold", "defs", TYPE, "images-new")[0] == 0
    written = yaml.safe_load((project.folder / "team" / "defs" / "images-new" / "defs.yaml").read_text())
    said = settings_of(**written["attributes"])
    assert (said.key_prefix, said.group, said.pattern) == (("images_new",), "images_new", "images-new*")
    assert said.refusal("images-new-1") is None


def test_two_instances_stand_in_one_project_and_nothing_of_them_collides(project):
    project.instance("images", IMAGES)
    project.instance("tables", TABLES)
    code, said = project("check", "defs")
    assert code == 0, said
    code, said = project("list", "defs", "--json")
    assert code == 0, said
    for name in (
        "images/local_dataset",
        "lab/tables/local_dataset",
        "images__promote",
        "lab__tables__promote_many",
    ):
        assert f'"{name}"' in said


def test_the_executor_of_a_project_is_its_own_until_a_file_of_the_page_hands_it_over(project):
    project.instance("images", IMAGES + "  executor: in-process\n")
    project.instance("tables", TABLES.replace("automation", "executor: multiprocess, automation"))
    own = {"images__promote": "in_process", "lab__tables__promote": "multiprocess"}
    found = project.executors(ATDATA_EXECUTOR="in-process")
    assert {**found, **own} == found
    assert found[MATERIALIZE] == "multi_or_in_process_executor"
    page = (ROOT / "docs" / "how-to" / "dagster-project.md").read_text()
    (project.folder / "team" / "defs" / "executor.py").write_text(
        page.partition("```python\n")[2].partition("```")[0]
    )
    for given, name in [({}, "in_process"), ({"ATDATA_EXECUTOR": "multiprocess"}, "multiprocess")]:
        found = project.executors(**given)
        assert {**found, **own, MATERIALIZE: name} == found


def test_yaml_that_is_wrong_is_told_with_its_place(project):
    project.instance("images", IMAGES.replace("pattern:", "patern:"))
    code, said = project("check", "yaml")
    assert (code, "images/defs.yaml:6" in said, "patern" in said) == (1, True, True)


def test_a_prefix_that_cannot_be_part_of_a_name_is_refused():
    with pytest.raises(ValueError, match="'lab-1' cannot be a part of a key prefix"):
        settings_of(key_prefix="lab-1/tables")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"cron": "61 * * * *"}, r"cron\n .*'61 \* \* \* \*' is no cron expression .* such as \"0 3 \* \* \*\""),
        ({"verification_cron": "weekly"}, r"verification_cron\n .*or null for no such schedule"),
        ({"pattern": ""}, r"pattern\n .*write \*, for all of them"),
        ({"license": "CC BY 4.0"}, r"license\n .*Write CC-BY-4.0"),
        ({"batch_size": 0}, r"batch_size\n .*greater than or equal to 1"),
    ],
)
def test_an_attribute_that_cannot_work_is_refused_with_a_way_out(attributes, said):
    with pytest.raises(ValueError, match=said):
        settings_of(**attributes)


def test_times_that_dagster_takes_are_taken():
    settings = settings_of(cron="@daily", verification_cron=None, license="LicenseRef-Lab")
    assert (settings.cron, settings.verification_cron, settings.options.defaults.license) == (
        "@daily",
        None,
        "LicenseRef-Lab",
    )


def test_an_empty_pattern_is_told_with_its_place(project):
    project.instance("images", IMAGES.replace("pattern: images-*", 'pattern: ""'))
    code, said = project("check", "yaml")
    assert (code, "images/defs.yaml:6" in said, "attributes.pattern '' should be non-empty" in said) == (
        1,
        True,
        True,
    )


def settings_of(**attributes):
    return DatasetPromotion(**attributes).settings()


def test_an_instance_without_attributes_is_the_pipeline_of_this_repository():
    ours, default = settings_of(), Settings()
    assert ours == default


def test_what_the_yaml_says_reaches_the_definitions():
    settings = settings_of(
        key_prefix="images",
        group="pictures",
        upstream="team/rendered",
        sensor=True,
        cron="30 1 * * *",
        verification_cron=None,
        copying_pool="disks",
        publishing_pool="pds",
    )
    repository = promotion_definitions(settings).get_repository_def()
    graph = repository.asset_graph
    nodes = [graph.get(dg.AssetKey(["images", stage])) for stage in STAGES]
    assert {node.group_name for node in nodes} == {"pictures"}
    assert {node.partitions_def.name for node in nodes} == {"images__dataset"}
    assert [sorted(node.pools or ()) for node in nodes] == [["disks"], ["pds"], ["disks"], ["pds"]]
    assert nodes[0].parent_keys == {dg.AssetKey(["team", "rendered"])}
    assert repository.get_sensor_def("images__new_datasets").default_status == dg.DefaultSensorStatus.RUNNING
    assert [schedule.cron_schedule for schedule in repository.schedule_defs] == ["30 1 * * *"]
    assert not any(node.automation_condition for node in nodes)
    declared = promotion_definitions(settings_of(automation=True)).get_repository_def().asset_graph
    # The daemon evaluates them without code of ours.
    assert all(declared.get(dg.AssetKey(stage)).automation_condition.is_serializable for stage in STAGES)


def test_a_key_of_the_destination_stands_in_no_configuration(monkeypatch):
    monkeypatch.setenv("OPEN_SECRET", "hunter2")
    destination = {
        "bucket": "open-images",
        "public_url": "https://data.example.org",
        "secret_access_key_env": "OPEN_SECRET",
    }
    settings = settings_of(key_prefix="images", destination=destination)
    shown = [
        str(resource.config_schema.default_value)
        for resource in promotion_definitions(settings).get_repository_def().get_top_level_resources().values()
    ]
    assert "open-images" in str(shown)
    assert "hunter2" not in str(shown)


class NeverAsked(S3Resource):
    """Of dagster-aws, and of use without its client, which nothing keeps."""

    def get_client(self):
        raise AssertionError("A client of dagster-aws is asked for.")


# A whole run: the environment knows no S3, so that nothing else can have read the shards.
def test_the_s3_resource_of_a_team_is_what_its_runs_and_its_commands_read_with(lab, environ, instance, monkeypatch):
    lab.insert("images-elsewhere")
    monkeypatch.setenv("LAB_SECRET", environ["AWS_SECRET_ACCESS_KEY"])
    s3 = NeverAsked(
        endpoint_url=environ["ATDATA_S3_ENDPOINT"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=dg.EnvVar("LAB_SECRET"),
        region_name="eu-west-1",
        max_attempts=3,
    )
    for name in ("ATDATA_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    settings = settings_of(key_prefix="images", pattern="images-*", license="CC0-1.0", s3=s3)
    add_keys(instance, ["images-elsewhere"], settings)
    definitions = promotion_definitions(settings)
    shown = definitions.get_repository_def().get_top_level_resources()["images__s3"].config_schema.default_value
    assert shown["aws_secret_access_key"] == {"env": "LAB_SECRET"}
    job = definitions.resolve_job_def(settings.named(JOB))
    config = run_config(settings=settings)
    assert job.execute_in_process(partition_key="images-elsewhere", instance=instance, run_config=config).success
    monkeypatch.setenv("ATDATA_PUBLISH_BUCKET", "copies")
    endpoint = store(settings).endpoint
    assert endpoint.client.meta.region_name == "eu-west-1"
    assert (endpoint.secret_key, endpoint.attempts) == (environ["AWS_SECRET_ACCESS_KEY"], 3)
    monkeypatch.delenv("LAB_SECRET")
    with pytest.raises(MissingVariableError, match="LAB_SECRET is not set"):
        store(settings)


@pytest.mark.parametrize("other", ["s3", RedisResource()])
def test_what_is_no_s3_resource_is_refused_with_a_way_out(other):
    with pytest.raises(ValueError, match=r"is no S3 resource\. Give an S3Resource of dagster_aws\.s3"):
        DatasetPromotion(s3=other)


def test_the_s3_resource_of_the_page_reaches_the_instance_from_its_yaml(project, dg_process):
    page = (ROOT / "docs" / "how-to" / "dagster-project.md").read_text()
    project.instance("images", page.split("```yaml\n")[3].partition("```")[0])
    own = page.split("```python\n")[3].partition("```")[0]
    (project.folder / "team" / "defs" / "images" / "resources.py").write_text(own)
    code = (
        "import json; from team.definitions import defs\n"
        "found = defs.load_fn().get_repository_def().get_top_level_resources()['images__s3']\n"
        "print(json.dumps(found.config_schema.default_value))"
    )
    shown = json.loads(dg_process.python(project.folder, code))
    assert (shown["endpoint_url"], shown["aws_access_key_id"]) == ("https://s3.example.org", {"env": "LAB_KEY"})


@dg.asset
def rendered() -> dg.MaterializeResult:
    return dg.MaterializeResult(data_version=dg.DataVersion("one"))


@pytest.fixture(scope="module")
def of_images():
    """An instance for datasets whose name begins with images-, made after an asset of a team."""
    settings = Settings(
        key_prefix=("images",),
        pattern="images-*",
        upstream=rendered.key,
        options=settings_of(license="CC-BY-4.0", tags=["microscopy"]).options,
    )
    return settings, dg.Definitions.merge(dg.Definitions(assets=[rendered]), promotion_definitions(settings))


@pytest.fixture
def images(instance, of_images):
    """What its runs do, and what Dagster calls stale then."""
    settings, both = of_images
    dg.materialize([rendered], instance=instance)

    class Images:
        def __init__(self):
            self.settings = settings

        def promote(self, name):
            add_keys(instance, [name], settings)
            job = both.resolve_job_def(settings.named(JOB))
            return job.execute_in_process(
                partition_key=name,
                instance=instance,
                raise_on_error=False,
                run_config=run_config(settings=settings),
            )

        def bulk(self, **said):
            job = both.resolve_job_def(settings.named(BULK_JOB))
            config = bulk_config(BulkConfig(**said), settings)
            return job.execute_in_process(instance=instance, raise_on_error=False, run_config=config)

        def stale(self, name):
            graph = both.get_repository_def().asset_graph
            resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
            return [resolver.get_status(key, name).name for key in settings.keys]

    return Images()


def record_of(result):
    shown = result.asset_materializations_for_node("images__atmosphere_record")[0].metadata
    return str(shown["at_uri"].value)


# A whole run, with the resources and partitions of an instance.
def test_an_instance_promotes_with_its_defaults_and_knows_its_upstream(lab, images, stranger):
    lab.insert("images-cells")
    result = images.promote("images-cells")
    assert result.success
    record = stranger.get_record(record_of(result)).value
    assert (record["license"], record["tags"]) == ("CC-BY-4.0", ["microscopy"])
    assert images.stale("images-cells") == ["FRESH"] * 4


def test_the_bulk_of_an_instance_takes_its_own_and_marks_them_after_their_upstream(lab, images, instance, stranger):
    entry = lab.insert("images-one")
    lab.register("images-two", entry.data_urls, {"license": "CC0-1.0"})
    lab.register("tables-one", entry.data_urls)
    result = images.bulk()
    assert result.success
    assert sorted(instance.get_dynamic_partitions("images__dataset")) == ["images-one", "images-two"]
    assert images.stale("images-two") == ["FRESH"] * 4
    marks = [event.asset_materialization for event in instance.all_logs(result.run_id, of_type=MARKED)]
    uris = {mark.partition: mark.metadata["at_uri"].value for mark in marks if "at_uri" in mark.metadata}
    records = {name: stranger.get_record(uri).value for name, uri in uris.items()}
    # What a dataset says itself stands before the defaults.
    assert {name: (record["license"], record["tags"]) for name, record in records.items()} == {
        "images-one": ("CC-BY-4.0", ["microscopy"]),
        "images-two": ("CC0-1.0", ["microscopy"]),
    }


@pytest.mark.parametrize("how", ["alone", "bulk"])
def test_a_dataset_of_another_instance_is_refused(lab, images, how):
    lab.insert("tables-one")
    result = images.promote("tables-one") if how == "alone" else images.bulk(datasets=["tables-one"])
    assert not result.success
    said = str([event.event_specific_data for event in result.all_events if event.is_step_failure])
    assert "their names are like images-*" in said


def test_the_sensor_of_an_instance_looks_at_its_own(lab, images, sensor_of):
    entry = lab.insert("images-one")
    lab.register("tables-one", entry.data_urls)
    [request] = sensor_of(images.settings)().run_requests
    assert (request.job_name, request.partition_key) == ("images__promote", "images-one")
    assert list(request.run_config["ops"]) == ["images__atmosphere_record"]


def test_the_page_of_the_component_names_each_attribute_and_its_yaml_is_accepted(project):
    reference = (ROOT / "docs" / "reference" / "component.md").read_text()
    page = (ROOT / "docs" / "how-to" / "dagster-project.md").read_text()
    rows = [line.split("|")[1] for line in reference.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(DatasetPromotion.model_fields)
    project.instance("images", page.partition("```yaml\n")[2].partition("```")[0])
    assert project("check", "yaml")[0] == 0


@pytest.fixture
def own(instance):
    """The subclass of the page, with a key of its own."""
    page = (ROOT / "docs" / "how-to" / "dagster-project.md").read_text()
    found = {"__name__": "the_page"}
    exec(compile(page.split("```python\n")[2].partition("```")[0], "dagster-project.md", "exec"), found)

    class Own(found["ImagePromotion"]):
        def get_asset_spec(self, spec):
            spec = super().get_asset_spec(spec)
            return spec.replace_attributes(key=spec.key.with_prefix("imaging"))

    settings = Own(key_prefix="images", pattern="images-*", reviewers=["Ada"]).settings()
    return settings, promotion_definitions(settings)


def told(instance, result):
    return [event.user_message for event in instance.all_logs(result.run_id) if not event.is_dagster_event]


# Runs of one dataset and of several: both ask the team's methods.
def test_the_subclass_of_the_page_decides_about_specs_and_what_runs_before_and_after(lab, own, instance):
    settings, definitions = own
    graph = definitions.get_repository_def().asset_graph
    for stage in STAGES:
        node = graph.get(dg.AssetKey(["imaging", "images", stage]))
        assert node.owners == ["team:imaging"]
    for name, reviewer in {"images-one": "Ada", "images-two": "Ada", "images-bad": "nobody"}.items():
        lab.insert(name, metadata={"reviewed_by": reviewer, "license": "CC0-1.0"})
    job, bulk = (definitions.resolve_job_def(settings.named(name)) for name in (JOB, BULK_JOB))

    def promote(name):
        add_keys(instance, [name], settings)
        config = run_config(settings=settings)
        return job.execute_in_process(
            partition_key=name, instance=instance, run_config=config, raise_on_error=False
        )

    one = promote("images-one")
    assert one.success
    assert sum("images-one is created: at://" in line for line in told(instance, one)) == 1
    refused = promote("images-bad")
    assert not refused.success
    assert "Nobody has reviewed images-bad." in str([event.event_specific_data for event in refused.all_events])
    config = bulk_config(BulkConfig(datasets=["images-two", "images-bad"]), settings)
    many = bulk.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    said = told(instance, many)
    assert sum("images-two is created: at://" in line for line in said) == 1
    assert any("images-bad was not promoted: " in line and "Nobody has reviewed" in line for line in said)
    record = dg.AssetKey(["imaging", "images", STAGES[-1]])
    assert instance.get_materialized_partitions(record) == {"images-one", "images-two"}


def test_translation_and_post_processing_of_the_page_reach_the_assets(project, dg_process):
    page = (ROOT / "docs" / "how-to" / "dagster-project.md").read_text()
    project.instance("images", page.split("```yaml\n")[2].partition("```")[0])
    code = (
        "import json; from team.definitions import defs\n"
        "specs = [spec for asset in defs.load_fn().assets for spec in getattr(asset, 'specs', [asset])]\n"
        "print(json.dumps({s.key.to_user_string(): [s.owners, s.tags, s.metadata.get('bucket')] for s in specs}))"
    )
    specs = json.loads(dg_process.python(project.folder, code))
    for asset in (*STAGES, "verification"):
        owners, tags, bucket = specs[f"imaging/{asset}"]
        assert (owners, tags["domain"]) == (["team:imaging"], "microscopy")
        assert (bucket == "open-images") == (asset in ("local_dataset", "copied_shards", "verification"))


def test_a_dep_that_dagster_cannot_add_is_refused_by_the_name_of_its_asset():
    class Hungry(Hooks):
        def get_asset_spec(self, spec):
            return spec.replace_attributes(deps=[*spec.deps, "weather"])

    with pytest.raises(RefusedError, match="get_asset_spec gives copied_shards other deps"):
        promotion_definitions(Settings(hooks=Hungry()))
