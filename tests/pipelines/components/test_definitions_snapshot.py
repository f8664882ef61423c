"""All definitions of the pipeline, as they stood when somebody last looked at them.

A change here changes what people see in the UI, what their runs are keyed by and what counts as out of date. Where
it is meant, remove the file and run this test: it writes the file again, to be read and committed.
"""

import json
from pathlib import Path

import dagster as dg
import pytest

from atdata_pipelines.components import DatasetPromotion
from atdata_pipelines.components.dataset_promotion import promotion_definitions

FOLDER = Path(__file__).parent / "snapshots"
INSTANCES = {
    "default": {},
    "configured": {
        "key_prefix": "lab/images",
        "group": "images",
        "pattern": "images-*",
        "upstream": "rendered",
        "catalogue": {"bucket": "example-catalogue", "public_url": "https://data.example.org"},
        "license": "CC-BY-4.0",
        "sensor": True,
        "automation": True,
        "cron": "30 1 * * *",
        "copying_pool": "disks",
        "publishing_pool": "pds",
    },
}


def asset(node):
    return {
        "after": sorted(key.to_user_string() for key in node.parent_keys),
        "group": node.group_name,
        "kinds": sorted(node.kinds),
        "code_version": node.code_version,
        "partitions": node.partitions_def.name if node.partitions_def else None,
        "pools": sorted(node.pools or ()),
        "conditions": bool(node.automation_condition),
        "freshness": str(node.freshness_policy) if node.freshness_policy else None,
        "checks": sorted(key.name for key in node.check_keys),
        "description": node.description,
    }


def ops(graph, within=""):
    """By name, with those that an asset of several steps is made of."""
    for node in graph.nodes:
        if isinstance(node.definition, dg.GraphDefinition):
            yield from ops(node.definition, f"{within}{node.name}.")
        else:
            yield f"{within}{node.name}", op(node.definition)


def op(definition):
    return {
        "tags": dict(sorted(definition.tags.items())),
        "resources": sorted(definition.required_resource_keys),
        "pool": definition.pool,
        "retries": definition.retry_policy.max_retries if definition.retry_policy else 0,
    }


def job(definition):
    return {
        "ops": dict(ops(definition.graph)),
        "config": definition.run_config or definition.get_run_config_for_partition_key("any"),
        "partitions": definition.partitions_def.name if definition.partitions_def else None,
        "tags": dict(sorted(definition.tags.items())),
        "description": definition.description,
    }


def told(definitions):
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    return {
        "assets": {key.to_user_string(): asset(graph.get(key)) for key in sorted(graph.get_all_asset_keys())},
        "jobs": {each.name: job(each) for each in repository.get_all_jobs() if not each.name.startswith("__")},
        "sensors": {
            each.name: {
                "jobs": sorted(target.job_name for target in each.targets),
                "every": each.minimum_interval_seconds,
                "status": each.default_status.value,
                "description": each.description,
            }
            for each in repository.sensor_defs
        },
        "schedules": {
            each.name: {
                "job": each.job_name,
                "cron": each.cron_schedule,
                "status": each.default_status.value,
                "description": each.description,
            }
            for each in repository.schedule_defs
        },
        "resources": sorted(repository.get_top_level_resources()),
    }


@pytest.mark.parametrize("name", INSTANCES)
def test_the_definitions_are_those_that_somebody_looked_at(name):
    now = told(promotion_definitions(DatasetPromotion(**INSTANCES[name]).settings()))
    file = FOLDER / f"{name}.json"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(now, indent=2) + "\n")
        pytest.fail(f"{file.name} was not there and is written now: read it, and commit it")
    assert now == json.loads(file.read_text())


def test_the_repository_loads_one_instance_and_nothing_beside_it():
    from atdata_pipelines.definitions import defs

    loaded = told(dg.Definitions.merge(defs.load_fn()))
    assert loaded == json.loads((FOLDER / "default.json").read_text())
