"""Whatever people do with ten datasets, in whatever order: what is published stays true, public and its owner's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.sandbox import Sandbox
from faulty.daily_life import DailyLife, Place
from reliability import Reliability
from servers import PdsAddress

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SEQUENCES = 300
STEPS = 10
LANES = 4


@pytest.fixture
def live(
    official_pds: PdsAddress, box: Sandbox, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int, int], int]:
    """Do the steps of a seed in a database; how many."""
    for name, value in box.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ATDATA_PDS_URL", official_pds.url)
    monkeypatch.setenv("ATDATA_PLC_URL", official_pds.plc_url)
    places = [url.partition("://")[2] for url in (official_pds.url, official_pds.plc_url, box.public_url)]
    places += [place.replace("localhost", "127.0.0.1") for place in places]
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", ",".join([*places, box.s3["AWS_ENDPOINT"].partition("://")[2]]))
    lab = f"lab-{bucket}"
    S3Endpoint.from_credentials(box.s3).client.create_bucket(Bucket=lab)
    redis_server = box.redis_url.rpartition("/")[0]

    def steps(seed: int, database: int) -> int:
        place = Place(official_pds.url, box.s3, box.public_url, lab, bucket, f"{redis_server}/{database}", tmp_path)
        life = DailyLife(seed, place)
        for _ in range(STEPS):
            try:
                life.step()
            except Exception as error:
                error.add_note(f"seed {seed}: {'; '.join(life.steps)}")
                raise
        life.verify()
        return len(life.steps)

    return steps


# The steps are what people do with real services: some seconds.
@pytest.mark.slow
def test_some_days_in_a_lab_leave_nothing_untrue(live):
    assert [live(seed, 1) for seed in range(3)] == [STEPS] * 3


@pytest.mark.faults
def test_three_hundred_days_in_a_lab_leave_nothing_untrue(live, reliability: Reliability):
    free = list(range(1, LANES + 1))
    with ThreadPoolExecutor(LANES) as pool:

        def one(seed: int) -> int:
            database = free.pop()
            try:
                return live(seed, database)
            finally:
                free.append(database)

        done = list(pool.map(one, range(SEQUENCES)))
    reliability(
        "300 seeded sequences of what people do with ten datasets: insert, promote with a store and without one, "
        "say other values, delete, retract, lose the ledger or Redis, reconcile, recover",
        "after each step every record is readable by strangers unless somebody said otherwise, its samples decode "
        "by its schema, no value is lost, states are true",
        f"so after all {sum(done):,} steps",
        len(done),
    )
