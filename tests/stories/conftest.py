"""One lab on the reference PDS, with everything that people do with it and everything that they can look at."""

from __future__ import annotations

import io
import itertools
import json
import logging
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import msgpack
import pytest
from click.testing import CliRunner, Result

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL
from atdata_core.common.cid import entry_cid
from atdata_core.errors import AtdataError, RecordNotFoundError
from atdata_core.local import LocalIndex, Repo, S3DataStore
from atdata_core.promote import promote_to_atmosphere
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.cli import main
from atdata_pipelines.components import DatasetPromotion
from atdata_pipelines.components.dataset_promotion import promotion_definitions
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.settings import DEFAULT, Settings
from atdata_pipelines.jobs.promotion_jobs import BULK_JOB, JOB, BulkConfig, bulk_config
from atdata_pipelines.jobs.verification_jobs import VERIFY
from servers import PdsAddress

KEYS = ("ATDATA_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
DATE = datetime(2026, 1, 2, 3)


@atdata.packable
class Cell:
    """A cell."""

    number: int


@dataclass(frozen=True)
class Visibility:
    """A dataset as everybody sees it; what is not there is None.

    Attributes:
        values: Description, tags and license of the record that the label points at.
        lies: ``public``, ``lab`` or ``elsewhere``: the bucket of its first shard.
        strangers: The numbers that a stranger reads, or the name of the error.
        status: What ``status`` says: the state.
        readers: And who can read it.
        verify: The word that ``verify`` begins with.
        public: Whether ``verify --public`` ends with 0.
    """

    values: tuple[Any, ...] | None = None
    lies: str | None = None
    strangers: list[int] | str | None = None
    status: str | None = None
    readers: str | None = None
    verify: str | None = None
    public: bool = False


class Lab:
    """A lab with an account of its own. Its shells and schedules have no bucket for copies unless told."""

    def __init__(self, pds: PdsAddress, box: Any, home: dg.DagsterInstance, folder: Path, patch: Any) -> None:
        self.pds, self.box, self.instance, self.folder, self._patch = pds, box, home, folder, patch
        self.s3 = S3Endpoint.from_credentials(box.s3).client
        self.bucket, self.public, self.closed = (
            f"{kind}-{secrets.token_hex(6)}" for kind in ("lab", "public", "closed")
        )
        for bucket in (self.bucket, self.public, self.closed):
            self.s3.create_bucket(Bucket=bucket)
        self.public_url = f"{box.public_url}/{self.public}"
        self.client = AtmosphereClient(pds.url)
        handle, password = f"user-{secrets.token_hex(6)}.test", secrets.token_urlsafe(12)
        made = {"handle": handle, "password": password, "email": f"{handle}@example.com", **pds.invite}
        httpx.post(f"{pds.url}/xrpc/com.atproto.server.createAccount", json=made).raise_for_status()
        self.client.login(handle, password)
        patch.setenv("ATDATA_HANDLE", handle)
        patch.setenv("ATDATA_APP_PASSWORD", password)
        self.did = self.client.did
        self.store = S3DataStore(box.s3, bucket=self.public, public_url=self.public_url)
        self._numbers = itertools.count()
        self._cursors: dict[str, str | None] = {}
        self._definitions: dict[str, dg.Definitions] = {}

    @property
    def index(self) -> LocalIndex:
        """The index, as another process opens it."""
        return LocalIndex(data_store=S3DataStore(self.box.s3, bucket=self.bucket))

    # -- what people do ---------------------------------------------------------------------------

    def insert(
        self, name: str, start: int = 0, *, metadata: Any = None, sample_type: Any = Cell, ref: str | None = None
    ) -> Any:
        """Store six samples in two shards, numbered from ``start``; the entry."""
        path = self.pack({f"{n:03d}": sample_type(number=n).as_wds for n in range(start, start + 6)})
        repo = Repo(s3_credentials=self.box.s3, hive_path=f"{self.bucket}/lab", redis=self.index.redis)
        dataset = atdata.Dataset[sample_type](str(path))
        entry, _ = repo.insert(dataset, name=name, maxcount=3, schema_ref=ref)
        if metadata is not None:
            told = atdata.Dataset[sample_type](entry.data_urls)
            entry = self.index.add_entry(told, name=name, metadata=metadata, schema_ref=entry.schema_ref)
        if ref is None:
            self.index.publish_schema(sample_type, version=entry.schema_ref.rpartition("@")[2])
        return entry

    def pack(self, samples: dict[str, Any], **others: bytes) -> Path:
        """A tar on this machine, with files beside the samples where some are given."""
        path = self.folder / f"{next(self._numbers):03d}.tar"
        with path.open("wb") as file, ShardWriter(file) as shard:
            for key, sample in samples.items():
                shard.write({**sample, "__key__": key})
        with tarfile.open(path, "a") as archive:
            for name, content in others.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return path

    def write_as_stranger(self, name: str, ref: str, *urls: str) -> str:
        """An entry as another program writes it to the shared Redis; its CID."""
        cid = entry_cid(ref, list(urls))
        values = {"name": name, "schema_ref": ref, "cid": cid, "data_urls": msgpack.packb(list(urls))}
        self.index.redis.hset(f"LocalDatasetEntry:{cid}", mapping=values)
        return cid

    @contextmanager
    def publishing_to(self, bucket: str, public_url: str = "") -> Iterator[None]:
        """In a shell, or a daemon, where copies go to a bucket."""
        with self._patch.context() as patch:
            patch.setenv("ATDATA_PUBLISH_BUCKET", bucket)
            patch.setenv("ATDATA_PUBLISH_PUBLIC_URL", public_url)
            yield

    def component(self, **attributes: Any) -> Settings:
        """An instance of the pipeline whose ``defs.yaml`` names the public bucket as its destination."""
        destination = {"bucket": self.public, "public_url": self.public_url}
        return DatasetPromotion.model_validate(
            {"key_prefix": "open", "destination": destination, **attributes}
        ).settings()

    def promote(self, name: str, **said: Any) -> str:
        """Through the library."""
        return promote_to_atmosphere(self.index.get_dataset(name), self.index, self.client, **said)

    def command(self, *arguments: str) -> Result:
        """``atdata-pipelines``, in an empty folder."""
        return CliRunner().invoke(main, arguments)

    def refusal(self, *arguments: str) -> str:
        """What a command says that ends with 1."""
        result = self.command(*arguments)
        assert result.exit_code == 1, result.output
        return result.stderr

    def does(self, *arguments: str) -> str:
        """What a command prints that ends with 0."""
        result = self.command(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def tick(self, settings: Settings = DEFAULT, *, logged: list[str] | None = None) -> dict[str, bool]:
        """The sensor, and the runs that it asks for: by dataset, whether each succeeded."""
        repository = self._defined(settings).get_repository_def()
        name = settings.named("new_datasets")
        sensor = repository.get_sensor_def(name)
        context = dg.build_sensor_context(
            instance_ref=self.instance.get_ref(),
            cursor=self._cursors.get(name),
            repository_def=repository,
            resources=settings.resources(),
            sensor_name=name,
        )
        with context:
            if logged is not None:
                context.log.addHandler(_Heard(logged))
            found = sensor.evaluate_tick(context)
        self._cursors[name] = found.cursor
        for request in found.dynamic_partitions_requests or []:
            add_keys(self.instance, request.partition_keys, settings)
        done: dict[str, bool] = {}
        for request in found.run_requests or []:
            tags = {"dagster/run_key": request.run_key, "dagster/sensor_name": name, **request.tags}
            job = request.job_name or settings.named(JOB)
            key = request.partition_key
            done[str(key)] = self._run(settings, job, run_config=request.run_config, partition_key=key, tags=tags)
        return done

    def night(self, settings: Settings = DEFAULT) -> bool | str:
        """The nightly schedule, and its run: whether that succeeded, or why there is none."""
        repository = self._defined(settings).get_repository_def()
        schedule = repository.get_schedule_def(settings.named("nightly_promotion"))
        context = dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=DATE,
            repository_def=repository,
            resources=settings.resources(),
        )
        with context:
            found = schedule.evaluate_tick(context)
        if not found.run_requests:
            return str(found.skip_message)
        [request] = found.run_requests
        return self._run(settings, settings.named(BULK_JOB), run_config=request.run_config)

    def bulk(self, *names: str, settings: Settings = DEFAULT) -> bool:
        """The job that promotes many; whether it succeeded."""
        config = bulk_config(BulkConfig(datasets=list(names)), settings)
        return self._run(settings, settings.named(BULK_JOB), run_config=config)

    def checks(self, name: str, settings: Settings = DEFAULT) -> dict[str, bool]:
        """The job that checks what is published of a dataset: by check, whether it passed."""
        add_keys(self.instance, [name], settings)
        job = self._defined(settings).resolve_job_def(settings.named(VERIFY))
        done = job.execute_in_process(instance=self.instance, partition_key=name, raise_on_error=False)
        return {found.check_name: found.passed for found in done.get_asset_check_evaluations()}

    def _defined(self, settings: Settings) -> dg.Definitions:
        key = settings.named("")
        if key not in self._definitions:
            self._definitions[key] = promotion_definitions(settings)
        return self._definitions[key]

    def _run(self, settings: Settings, job: str, **how: Any) -> bool:
        found = self._defined(settings).resolve_job_def(job)
        return found.execute_in_process(instance=self.instance, raise_on_error=False, **how).success

    # -- what people see --------------------------------------------------------------------------

    def uri(self, name: str) -> str | None:
        """The record that the label of a published name points at."""
        labels = [each.value for each in self.client.iter_records(LABEL)]
        return next((each["datasetUri"] for each in labels if each["name"] == name), None)

    def record(self, uri: str) -> dict[str, Any] | None:
        """What the reference PDS has."""
        try:
            return AtmosphereClient(self.pds.url).get_record(uri).value
        except RecordNotFoundError:
            return None

    def names_published(self) -> list[str]:
        """The names of all entry records of the account."""
        return sorted(record.value["name"] for record in self.client.iter_records(ENTRY))

    def stranger(self, uri: str) -> list[int] | str:
        """What somebody reads who has no keys: the numbers of the samples, or why there are none."""
        with self._patch.context() as patch:
            for key in KEYS:
                patch.delenv(key, raising=False)
            try:
                opened = AtmosphereIndex(AtmosphereClient(self.pds.url)).open_dataset(uri)
                return [sample.number for sample in opened.ordered()]
            except AtdataError as error:
                return type(error).__name__

    def plan(self, name: str, *options: str) -> dict[str, tuple[Any, ...]]:
        """The table of ``plan``: by value, what is asked, was said before, stands, and where from."""
        rows = json.loads(self.does("plan", name, "--json", *options))["values"]
        return {row["name"]: (row["asked"], row["before"], row["value"], row["source"]) for row in rows}

    def status(self, name: str) -> dict[str, Any]:
        """What ``status`` says."""
        return json.loads(self.does("status", name, "--json"))

    def verified(self, *asked: str) -> dict[str, Any]:
        """What ``verify --public`` says of one dataset, and ``ended``: with what it ended."""
        result = self.command("verify", *asked, "--public", "--json")
        return {**json.loads(result.stdout), "ended": result.exit_code}

    def objects(self, bucket: str | None = None) -> list[str]:
        """The keys in a bucket, the public one by default."""
        found = self.s3.list_objects_v2(Bucket=bucket or self.public)
        return [each["Key"] for each in found.get("Contents", [])]

    def seen(self, name: str) -> Visibility:
        """A dataset as everybody sees it now."""
        uri = self.uri(name)
        known = json.loads(self.command("status", name, "--json").stdout or "{}")
        told = {"status": known.get("state"), "readers": known.get("readers")}
        record = None if uri is None else self.record(uri)
        if uri is None or record is None:
            return Visibility(**told)
        found = self.verified(name)
        return Visibility(
            values=tuple(record.get(field) for field in ("description", "tags", "license")),
            lies=self._lies(record),
            strangers=self.stranger(uri),
            verify=found["state"],
            public=found["ended"] == 0,
            **told,
        )

    def _lies(self, record: dict[str, Any]) -> str:
        storage = record["storage"]
        if storage.get("bucket") == self.bucket:
            return "lab"
        urls = [shard.get("url", "") for shard in storage["shards"]]
        return "public" if all(url.startswith(f"{self.public_url}/") for url in urls) else "elsewhere"


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self.messages = messages

    def emit(self, record: Any) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture(scope="session")
def dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """One DAGSTER_HOME for all stories: its databases take seconds."""
    folder = tmp_path_factory.mktemp("dagster-home")
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


@pytest.fixture
def lab(
    official_pds: PdsAddress,
    box: Any,
    environ: dict[str, str],
    dagster_home: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Lab:
    """A lab with an empty index, empty buckets and a new account."""
    urls = (official_pds.url, official_pds.plc_url)
    places = [url.partition("://")[2] for url in urls]
    places += [place.replace("localhost", "127.0.0.1") for place in places]
    monkeypatch.setenv("ATDATA_PDS_URL", official_pds.url)
    monkeypatch.setenv("ATDATA_PLC_URL", official_pds.plc_url)
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", ",".join([environ["ATDATA_ALLOW_PRIVATE"], *places]))
    monkeypatch.setenv("DAGSTER_HOME", dagster_home.root_directory)
    monkeypatch.chdir(tmp_path)
    for partitions in ("dataset", "open__dataset"):
        for key in dagster_home.get_dynamic_partitions(partitions):
            dagster_home.delete_dynamic_partition(partitions, key)
    return Lab(official_pds, box, dagster_home, tmp_path, monkeypatch)
