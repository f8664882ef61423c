"""Datasets in a fresh index, and a Dagster instance of their own."""

import itertools
import logging
from datetime import UTC, datetime
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pytest
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient
from atdata_core.local import LocalIndex, Repo
from atdata_core.promotion.scheduling import retry_policy
from atdata_core.shards.tar_samples import ShardWriter
from dagster_memory import in_memory


@atdata.packable
class Picture:
    """A small picture with a vector and a word."""

    image: NDArray[np.uint8]
    vector: NDArray[np.float32]
    word: str
    label: int


def picture(number, label=None):
    image = np.add.outer(np.arange(8), np.arange(8)).astype(np.uint8) * (number % 5 + 1)
    vector = np.sin(np.arange(32, dtype=np.float32) * (number + 1))
    return Picture(
        image=image,
        vector=vector,
        word=f"<b>{number}</b> | [x](http://e.example)",
        label=number if label is None else label,
    )


@pytest.fixture
def team_pyproject():
    """The ``pyproject.toml`` of a team's Dagster project, whose module is ``team``."""
    return """
[project]
name = "team"
version = "0.1.0"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "team"
[tool.dg.cli]
suppress_warnings = ["project_and_activated_venv_mismatch"]
"""


@pytest.fixture
def account_environ(environ, account, monkeypatch):
    """The sandbox's variables, with an account of this test's own."""
    monkeypatch.setenv("ATDATA_HANDLE", account.handle)
    monkeypatch.setenv("ATDATA_APP_PASSWORD", account.password)
    return {**environ, "ATDATA_HANDLE": account.handle, "ATDATA_APP_PASSWORD": account.password}


@pytest.fixture
def lab(account_environ, s3, bucket, tmp_path):
    """``lab.insert(name)`` stores a dataset of two shards, three pictures each; ``labels`` are theirs."""
    index = LocalIndex()
    repo = Repo(s3_credentials=s3, hive_path=f"{bucket}/lab", redis=index.redis)
    numbers = itertools.count()

    def insert(name="pictures", *, start=0, metadata=None, schema=True, labels=(None,) * 6):
        path = tmp_path / f"{next(numbers):03d}.tar"
        with open(path, "wb") as file, ShardWriter(file) as shard:
            for number, label in enumerate(labels, start):
                shard.write({**picture(number, label).as_wds, "__key__": f"{number:06d}"})
        entry, _ = repo.insert(atdata.Dataset[Picture](str(path)), name=name, maxcount=3)
        if metadata is not None:
            index.add_entry(atdata.Dataset[Picture](entry.data_urls), name=name, metadata=metadata)
        if schema:
            publish_schema()
        return index.get_entry_by_name(name)

    def publish_schema():
        index.publish_schema(Picture, version="1.0.0")

    def register(name, url, metadata=None):
        index.add_entry(atdata.Dataset[Picture](url), name=name, metadata=metadata)

    return SimpleNamespace(
        index=index, insert=insert, register=register, publish_schema=publish_schema, bucket=bucket
    )


@pytest.fixture(scope="session")
def dagster_home(tmp_path_factory):
    """The instance of this process; to open one takes longer than most tests."""
    with dg.DagsterInstance.from_config(str(in_memory(tmp_path_factory.mktemp("dagster_home")))) as made:
        yield made


@pytest.fixture
def instance(dagster_home):
    """A Dagster instance with no runs, events and partitions. Its databases lie in memory (``dagster_memory``)."""
    dagster_home.wipe()
    return dagster_home


@pytest.fixture
def empty_instance(instance):
    """The same, for tests that say so."""
    return instance


@pytest.fixture(scope="session")
def defined():
    """``defined(settings)`` are the definitions of a pipeline, made and resolved once."""
    from atdata_pipelines.components.dataset_promotion import promotion_definitions
    from atdata_pipelines.config.settings import DEFAULT

    made = []

    def of(settings=DEFAULT):
        for known, definitions in made:
            if known == settings:
                return definitions
        made.append((settings, promotion_definitions(settings)))
        return made[-1][1]

    return of


@pytest.fixture
def stranger(pds):
    """A client without a login."""
    return AtmosphereClient(pds.url)


@pytest.fixture
def run(instance, defined):
    """Promote a dataset with the job; ``stages`` runs only those."""
    from atdata_pipelines.config.partitions import add_keys
    from atdata_pipelines.jobs.promotion_jobs import JOB

    job = defined().resolve_job_def(JOB)

    def promote(name, *, stages=None, said=None, run_id=None):
        add_keys(instance, [name])
        return job.execute_in_process(
            partition_key=name,
            instance=instance,
            raise_on_error=False,
            run_id=run_id,
            run_config={"ops": {"atmosphere_record": {"config": said}}} if said else None,
            asset_selection=None if stages is None else [dg.AssetKey(stage) for stage in stages],
        )

    return promote


@pytest.fixture
def promote(lab):
    """Promote a dataset with the library; what is said has the names of the job's configuration. Its at-uri.

    It leaves on the PDS and in the ledger what a run of the job does, a failure too, for a tenth of the time.
    """
    from atdata_core.promote import promote_to_atmosphere
    from atdata_pipelines.config.settings import DEFAULT, Services

    def call(dataset="pictures", /, *, under=None, **said):
        services = Services(*DEFAULT.resources().values())
        keywords = {"data_store": services.store(), **DEFAULT.keywords(said)}
        if under is not None:
            keywords["name"] = under
        return promote_to_atmosphere(
            lab.index.get_entry_by_name(dataset), lab.index, services.atproto.client(), **keywords
        )

    return call


@pytest.fixture
def run_bulk(instance, defined):
    """Promote many datasets with the job; says what a person fills in, or is given a whole configuration."""
    from atdata_pipelines.jobs.promotion_jobs import BULK_JOB, BulkConfig, bulk_config

    job = defined().resolve_job_def(BULK_JOB)

    def promote(run_config=None, *, run_id=None, **said):
        return job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_id=run_id,
            run_config=run_config or bulk_config(BulkConfig(**said)),
        )

    return promote


@pytest.fixture
def sensor_of(instance, defined):
    """``sensor_of(settings)()`` evaluates a sensor as the daemon does; the cursor goes from tick to tick.

    Its ``state.logged`` are the messages of the last tick.
    """

    def make(settings):
        state = SimpleNamespace(cursor=None, logged=[])
        repository = defined(settings).get_repository_def()
        sensor = repository.get_sensor_def(settings.named("new_datasets"))

        def evaluate():
            context = dg.build_sensor_context(
                instance_ref=instance.get_ref(),
                cursor=state.cursor,
                repository_def=repository,
                resources=settings.resources(),
                sensor_name=sensor.name,
            )
            state.logged = []
            heard = logging.Handler()
            heard.emit = lambda record: state.logged.append(record.getMessage())
            with context:
                context.log.addHandler(heard)
                found = sensor.evaluate_tick(context)
                context.log.removeHandler(heard)
            state.cursor = found.cursor
            for event in found.asset_events:
                instance.report_runless_asset_event(event)
            for request in found.dynamic_partitions_requests or []:
                assert len(request.partition_keys) <= 1_000
                instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
            return found

        evaluate.state = state
        return evaluate

    return make


@pytest.fixture
def tick(sensor_of):
    """The sensor of the default pipeline."""
    from atdata_pipelines.config.settings import DEFAULT

    return sensor_of(DEFAULT)


@pytest.fixture
def together(sensor_of):
    """The sensor of a pipeline that promotes two datasets in one run already."""
    from atdata_pipelines.config.settings import Settings

    return sensor_of(Settings(bulk_from=1))


@pytest.fixture
def night(instance, defined):
    """Evaluate the schedule."""
    from atdata_pipelines.config.settings import DEFAULT

    repository = defined().get_repository_def()
    nightly_promotion = repository.get_schedule_def("nightly_promotion")

    def evaluate():
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime(2026, 1, 2, 3),
            repository_def=repository,
            resources=DEFAULT.resources(),
        )
        with context:
            return nightly_promotion.evaluate_tick(context)

    return evaluate


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Call ``atdata-pipelines`` in this process, in an empty folder."""
    from click.testing import CliRunner

    from atdata_pipelines.cli import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(main, arguments)

    return call


@pytest.fixture
def publish(lab, box, s3):
    """Promote a dataset into a bucket that anybody can read; its at-uri."""
    from atdata_core.local import S3DataStore
    from atdata_core.promote import promote_to_atmosphere
    from atdata_pipelines.config.resources import AtprotoResource

    def call(name="pictures", *, under=None, **more):
        store = S3DataStore(s3, bucket=lab.bucket, public_url=f"{box.public_url}/{lab.bucket}")
        entry = lab.insert(name, **more)
        client = AtprotoResource().client()
        return promote_to_atmosphere(entry, lab.index, client, data_store=store, name=under, license="CC-BY-4.0")

    return call


@pytest.fixture
def spoil(s3, box):
    """Flip a bit of the object behind a public URL."""
    from atdata_core.stores.s3.objects import S3Endpoint

    client = S3Endpoint.from_credentials(s3).client

    def flip(url):
        bucket, _, key = url.removeprefix(f"{box.public_url}/").partition("/")
        data = bytearray(client.get_object(Bucket=bucket, Key=key)["Body"].read())
        data[600] ^= 1
        client.put_object(Bucket=bucket, Key=key, Body=bytes(data))

    return flip


@pytest.fixture
def doctor():
    """Do some checks and those that they need: ``of(check)`` are its findings, ``only(check)`` the single one."""
    from atdata_pipelines.cli.doctor import CHECKS, examine

    by_name = {check.name: check for check in CHECKS}

    def look(*names):
        wanted = dict.fromkeys(need for name in names for need in (*by_name[name].needs, name))
        found = {}
        for finding in examine([by_name[name] for name in wanted], answer=1.0):
            found.setdefault(finding.check, []).append(finding)

        def only(name):
            [finding] = found[name]
            return finding

        every = [finding for some in found.values() for finding in some]
        return SimpleNamespace(all=every, of=lambda name: found[name], only=only)

    return look


@pytest.fixture
def edge(account_environ):
    """Proxies before the services; ``edge.rule`` says what becomes of calls."""
    from faulty.edge import Edge

    services = {"pds": account_environ["ATDATA_PDS_URL"], "s3": account_environ["ATDATA_S3_ENDPOINT"]}
    with Edge(services) as running:
        yield running


@pytest.fixture
def published(lab, box, monkeypatch):
    """A bucket for copies, with the address at which strangers read it."""
    monkeypatch.setenv("ATDATA_PUBLISH_BUCKET", lab.bucket)
    monkeypatch.setenv("ATDATA_PUBLISH_PUBLIC_URL", f"{box.public_url}/{lab.bucket}")
    return lab.bucket


@pytest.fixture
def objects(s3):
    """The keys in a bucket."""
    from atdata_core.stores.s3.objects import S3Endpoint

    client = S3Endpoint.from_credentials(s3).client
    return lambda bucket: [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.fixture
def clock(monkeypatch):
    """The time by which pauses are counted; ``clock.passes(...)`` moves it."""
    now = SimpleNamespace(at=datetime.now(UTC))
    monkeypatch.setattr(retry_policy, "clock", lambda: now.at)

    def passes(by):
        now.at += by

    return SimpleNamespace(passes=passes)
