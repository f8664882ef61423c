"""Use the installed package beside a release of Dagster: demo, sensor, bulk job, checks, a project of one's own.

``python dagster_round.py docs/how-to/dagster-project.md``, from the folder of a project of ``create-dagster``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import dagster as dg

import atdata_core as atdata
from atdata_core.local import LocalIndex
from atdata_pipelines.assets.check_config import CHECKS
from atdata_pipelines.components.dataset_promotion import promotion_definitions
from atdata_pipelines.config.settings import DEFAULT, RECORD
from atdata_pipelines.demo.digits import NAME, Digit, sandbox
from atdata_pipelines.jobs.promotion_jobs import BULK_JOB, BulkConfig, bulk_config

SCRIPTS = Path(sysconfig.get_path("scripts"))
ALONE, TOGETHER = "digits-alone", "digits-together"


def check_project(page: Path) -> str:
    """The page's first lines of YAML are an instance of the project; what has looked at it."""
    folder = Path("src/lab_project/defs")
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "defs.yaml").write_text(page.read_text().partition("```yaml\n")[2].partition("```")[0])
    (folder / "rendered.py").write_text("import dagster as dg\n\n\n@dg.asset\ndef rendered_images() -> None: ...\n")
    command = ["dg", "check", "defs"]
    if not (SCRIPTS / "dg").exists():
        command = ["dagster", "definitions", "validate", "-m", "lab_project.definitions"]
    found = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([SCRIPTS / command[0], *command[1:]], env=found, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return " ".join(command)


def check_pipeline() -> None:
    """The sensor promotes a dataset, the bulk job another one, and the checks of all of them pass."""
    repository = promotion_definitions().get_repository_def()
    with sandbox(), dg.DagsterInstance.get() as instance:
        index = LocalIndex()
        entry = index.get_entry_by_name(NAME)
        add = {"schema_ref": entry.schema_ref, "metadata": {"license": "CC-BY-4.0"}}
        index.add_entry(atdata.Dataset[Digit](entry.data_urls), name=ALONE, **add)
        given = DEFAULT.resources()
        sensor = repository.get_sensor_def("new_datasets")
        with dg.build_sensor_context(
            instance_ref=instance.get_ref(), repository_def=repository, resources=given, sensor_name=sensor.name
        ) as context:
            tick = sensor.evaluate_tick(context)
        [request] = [each for each in tick.run_requests or [] if each.partition_key == ALONE]
        for added in tick.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(added.partitions_def_name, added.partition_keys)
        job = repository.get_job(request.job_name)
        done = job.execute_in_process(
            partition_key=ALONE, run_config=request.run_config, instance=instance, tags=dict(request.tags)
        )
        assert done.success
        index.add_entry(atdata.Dataset[Digit](entry.data_urls), name=TOGETHER, **add)
        config = bulk_config(BulkConfig(datasets=[TOGETHER]))
        assert repository.get_job(BULK_JOB).execute_in_process(run_config=config, instance=instance).success
        marked = instance.get_materialized_partitions(dg.AssetKey(RECORD))
        assert marked == {NAME, ALONE, TOGETHER}, marked
        for name in sorted(marked):
            run = repository.get_job("verify").execute_in_process(partition_key=name, instance=instance)
            seen = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
            failed = [each.message for each in seen if not each.dagster_event.event_specific_data.passed]
            assert {each.dagster_event.event_specific_data.check_name for each in seen} == {*CHECKS}, seen
            assert not failed, failed


def main() -> None:
    """All of it; an exception where something fails."""
    looked = check_project(Path(sys.argv[1]))
    subprocess.run([sys.executable, "-m", "atdata_pipelines.demo"], check=True, stdout=sys.stderr)
    check_pipeline()
    print(f"Dagster {dg.__version__}: {looked} in a new project, demo, sensor, bulk job and checks work")


if __name__ == "__main__":
    main()
