"""An upstream asset that is partitioned in whatever way: the project loads, and datasets are promoted after it."""

import importlib
import sys

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from atdata_pipelines.components.dataset_promotion import promotion_definitions
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.settings import Settings
from atdata_pipelines.jobs.promotion_jobs import BULK_JOB, JOB, BulkConfig, bulk_config, run_config

TYPE = "atdata_pipelines.components.DatasetPromotion"

DAILY = dg.DailyPartitionsDefinition(start_date="2026-01-01", end_date="2026-01-04")
LONG = dg.DailyPartitionsDefinition(start_date="2025-01-01", end_date="2026-01-01")
STATIC = dg.StaticPartitionsDefinition(["left", "right"])
DATASETS = dg.DynamicPartitionsDefinition(name="made__dataset")
NAMES = dg.DynamicPartitionsDefinition(name="names")
PATIENTS = dg.DynamicPartitionsDefinition(name="patients")

# What is materialised of each; of two that a dataset depends on, not in the order of their keys.
KINDS = {
    "unpartitioned": (None, [None]),
    "dynamic of the datasets": (DATASETS, ["made-two", "made-one"]),
    "dynamic of its own": (NAMES, ["p-7", "made-one"]),
    "dynamic without the dataset": (PATIENTS, ["p-7"]),
    "days": (DAILY, ["2026-01-03", "2026-01-01"]),
    "static": (STATIC, ["right", "left"]),
    "two dimensions": (dg.MultiPartitionsDefinition({"day": LONG, "side": STATIC}), ["2025-01-02|right"]),
    "a dimension of datasets": (
        dg.MultiPartitionsDefinition({"of": DATASETS, "side": STATIC}),
        ["made-one|right", "made-one|left", "made-two|left"],
    ),
}


@pytest.fixture(params=KINDS)
def made(request, instance):
    """An instance after an asset that is partitioned in one of these ways."""
    partitions, materialised = KINDS[request.param]

    # Of one name each: what was materialised of one is nothing to another.
    @dg.asset(partitions_def=partitions, name=request.param.replace(" ", "_"))
    def made() -> None: ...

    settings = Settings(key_prefix=("made",), pattern="made-*", upstream=made.key, upstream_partitions=partitions)
    both = dg.Definitions.merge(dg.Definitions(assets=[made]), promotion_definitions(settings))

    class Made:
        kind, definitions = request.param, both

        def make(self, version="1"):
            add_keys(instance, ["made-one", "made-two"], settings)
            if partitions in (NAMES, PATIENTS):
                instance.add_dynamic_partitions(partitions.name, materialised)
            for partition in materialised:
                tags = {"dagster/data_version": f"{version} of {partition}"}
                event = dg.AssetMaterialization(made.key, partition=partition, tags=tags)
                instance.report_runless_asset_event(event)

        def promote(self):
            job = both.resolve_job_def(settings.named(JOB))
            return job.execute_in_process(
                partition_key="made-one", instance=instance, run_config=run_config(settings=settings)
            )

        def bulk(self):
            job = both.resolve_job_def(settings.named(BULK_JOB))
            config = bulk_config(BulkConfig(datasets=["made-one"]), settings)
            return job.execute_in_process(instance=instance, run_config=config)

        def marked(self):
            """What the last mark of the first stage tells of what it was made from."""
            found = instance.fetch_materializations(
                dg.AssetRecordsFilter(settings.key("local_dataset"), asset_partitions=["made-one"]), limit=1
            )
            return {
                name: value
                for name, value in found.records[0].asset_materialization.tags.items()
                if name.endswith(made.key.to_user_string())
            }

        def stale(self):
            graph = both.get_repository_def().asset_graph
            resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
            return [resolver.get_status(key, "made-one").name for key in settings.keys]

    return Made()


def test_a_dataset_is_promoted_alone_and_with_others_and_is_marked_alike(lab, made):
    lab.insert("made-one")
    made.make()
    made.definitions.get_repository_def().validate_loadable()
    assert made.promote().success
    alone = made.marked()
    assert len(alone) == 2
    assert not {"NULL", "INITIAL"} & {*alone.values()}
    assert made.stale() == ["FRESH"] * 4
    assert made.bulk().success
    assert made.marked() == alone
    assert made.stale() == ["FRESH"] * 4
    made.make("2")
    # Of days and of a hundred partitions or more Dagster looks at none, where a dataset depends on all of them.
    of_none = {"days", "two dimensions", "dynamic without the dataset"}
    assert made.stale()[0] == ("FRESH" if made.kind in of_none else "STALE")


TEAM = {
    "team/__init__.py": "",
    "team/definitions.py": """
from pathlib import Path

import dagster as dg


@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
""",
    # Read after the instances of images/, and before those of tables/.
    "team/defs/made.py": """
from pathlib import Path

import dagster as dg

days = dg.DailyPartitionsDefinition(start_date="2026-01-01")
sides = dg.StaticPartitionsDefinition(["left", "right"])


@dg.asset(partitions_def=days)
def daily() -> None: ...


@dg.asset(partitions_def=dg.MultiPartitionsDefinition({"day": days, "side": sides}))
def multi() -> None: ...


@dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="images__dataset"))
def by_name() -> None: ...


@dg.asset
def whole() -> None: ...


seen = dg.AssetSpec("seen", partitions_def=days)


class Twice(dg.Component):
    def build_defs(self, context):
        count = len(context.build_defs(Path("images")).assets)

        @dg.asset(partitions_def=sides, metadata={"assets": count})
        def counted() -> None: ...

        return dg.Definitions(assets=[counted])


@dg.component_instance
def twice(context) -> Twice:
    return Twice()
""",
}


@pytest.fixture
def team(tmp_path, team_pyproject, monkeypatch):
    """A project of a team that has assets of each kind; ``team(folder, prefix=upstream)`` gives it instances."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in {"pyproject.toml": team_pyproject, **TEAM}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def has(folder, **upstreams):
        attributes = (
            f"{{key_prefix: {key}, pattern: {key}-*, upstream: {each}}}" for key, each in upstreams.items()
        )
        path = tmp_path / "team" / "defs" / folder / "defs.yaml"
        path.parent.mkdir()
        path.write_text("\n---\n".join(f"type: {TYPE}\nattributes: {each}" for each in attributes))

    yield has
    for module in [name for name in sys.modules if name.split(".")[0] == "team"]:
        del sys.modules[module]


# Dagster reads YAML through a function that pydantic calls deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_instance_of_a_project_finds_how_its_upstream_is_partitioned(team):
    team("images", images="by_name", first="daily", second="counted")
    team("tables", tables="multi", plain="whole", other="seen", after="images/atmosphere_record", gone="elsewhere")
    definitions = importlib.import_module("team.definitions").defs.load_fn()
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.get_repository_def().asset_graph
    stages = [key for key in graph.get_all_asset_keys() if key.path[-1] == "local_dataset"]
    mappings = {key.path[0]: [*map(type, graph.get(key).partition_mappings.values())] for key in stages}
    every = [dg.AllPartitionMapping]
    assert mappings == {
        "images": [],
        "first": every,
        "second": every,
        "tables": every,
        "plain": [],
        "other": every,
        "after": [],
        "gone": [],
    }
