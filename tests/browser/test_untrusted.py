"""Text of strangers stays text on every page: nothing is asked of another host, and no script runs."""

import io
import re
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import dagster as dg
import httpx
import pytest

import atdata_core as atdata
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.components.dataset_promotion import promotion_definitions
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.settings import STAGES
from atdata_pipelines.demo.digits import LAB, PUBLIC
from atdata_pipelines.jobs.promotion_jobs import BULK_JOB, JOB, BulkConfig, bulk_config
from untrusted import FOUND, HOST, LOCATION, hostile, listening, short_hostile

pytestmark = pytest.mark.browser

SENSOR = """mutation ($start: SensorSelector!) { startSensor(sensorSelector: $start) { __typename } }"""
STOP = """mutation ($id: String!) { stopSensor(id: $id) { __typename } }"""
TICKS = """query ($of: SensorSelector!) { sensorOrError(sensorSelector: $of) { ... on Sensor {
    sensorState { id ticks(limit: 5) { status skipReason } } } } }"""
OPENERS = ("[Show Markdown]", "[Show Table Schema]", "Show schema", "[Show JSON]", "View full message")
ENDS = re.compile("^(Close|Done|OK)$")
SHOWN = {"local_dataset": "word.png", "atmosphere_record": "description.png"}
CHECKS = ("license_known", "record_resolves", "samples_of_published_schema", "shards_as_published")


@pytest.fixture(scope="module")
def evil():
    """A server that nothing may ask, and what it was asked for."""
    with listening() as (url, asked):
        yield url, asked


@pytest.fixture(scope="module")
def names(lab, place, evil):
    """Datasets of a stranger: one that can be published, one whose shard is not there, one with odd metadata."""
    url, _ = evil

    @atdata.packable
    class Stranger:
        word: str
        label: str

    Stranger.__doc__ = hostile("docstring", url)
    lab.index.publish_schema(Stranger, version="1.0.0", description=hostile("schema", url))
    file = io.BytesIO()
    with ShardWriter(file) as shard:
        for number in range(4):
            sample = Stranger(word=hostile("word", url), label=short_hostile("label", url)[:39])
            shard.write({**sample.as_wds, "__key__": f"<img src=x onerror=hostile=1>{number}"})
    key = f"strangers/<img src=x onerror=hostile=1>&www.{HOST}.tar"
    client = S3Endpoint.from_credentials(place.s3).client
    client.put_object(Bucket=LAB, Key=key, Body=file.getvalue())
    metadata = {
        "description": hostile("description", url),
        "tags": [short_hostile("tag", url)[:60], f"www.{HOST}"],
        "license": short_hostile("license", url),
        hostile("key", url)[:60]: hostile("value", url),
    }
    names = {
        # Copies lie under its name, and not every store takes two slashes in a row there.
        "good": f"![n](www.{HOST}) www.{HOST} x@{HOST} <img src=x onerror=hostile=1>",
        "bad": f"[b]({url}/bad) www.{HOST}",
        "odd": f"odd <script>hostile=1</script> {url}/odd",
    }
    lab.index.add_entry(atdata.Dataset[Stranger](f"s3://{LAB}/{key}"), name=names["good"], metadata=metadata)
    gone = f"s3://{LAB}/strangers/gone <img src=x onerror=hostile=1> https:%2F%2F{HOST} www.{HOST}.tar"
    lab.index.add_entry(atdata.Dataset[Stranger](gone), name=names["bad"], metadata=metadata)
    odd = {"promote": f"www.{HOST} <img src=x onerror=hostile=1>"}
    lab.index.add_entry(atdata.Dataset[Stranger](f"s3://{LAB}/{key}"), name=names["odd"], metadata=odd)
    return names


@pytest.fixture(scope="module")
def runs(place, server, names):
    """The ids of runs of each job, done in this process with the UI's event log."""
    environ = {
        **place.environ(),
        "ATDATA_PUBLISH_BUCKET": PUBLIC,
        "ATDATA_PUBLISH_PUBLIC_URL": f"{place.public_url}/{PUBLIC}",
    }
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as apart:
        for name, value in environ.items():
            patch.setenv(name, value)
        # The browser's driver has an event loop in this thread, and Dagster wants one of its own.
        done = apart.submit(_done, server.home, names).result()
    assert [success for _, success in done] == [True, False, False, True, False, True]
    return [run_id for run_id, _ in done]


def _done(home, names):
    """The id of each run, and whether it succeeded."""
    definitions = promotion_definitions()
    with dg.DagsterInstance.from_config(str(home)) as instance:

        def run(job, **more):
            resolved = definitions.resolve_job_def(job)
            result = resolved.execute_in_process(instance=instance, raise_on_error=False, **more)
            return result.run_id, result.success

        add_keys(instance, names.values())
        return [
            run(JOB, partition_key=names["good"]),
            run(JOB, partition_key=names["bad"]),
            run(BULK_JOB, run_config=bulk_config(BulkConfig(datasets=[*names.values()]))),
            run("verify_many"),
            run("verify", partition_key=names["bad"]),
            run("verify", partition_key=names["good"]),
        ]


@pytest.fixture(scope="module")
def ticks(server, runs):
    """The sensor has looked at them."""
    selector = {
        "repositoryLocationName": "atdata-pipelines",
        "repositoryName": "__repository__",
        "sensorName": "new_datasets",
    }

    def ask(query, **variables):
        answer = httpx.post(f"{server.url}/graphql", json={"query": query, "variables": variables}, timeout=60)
        return answer.json()["data"]

    ask(SENSOR, start=selector)
    end = time.monotonic() + 120
    while True:
        state = ask(TICKS, of=selector)["sensorOrError"]["sensorState"]
        if any(tick["status"] in ("SKIPPED", "SUCCESS", "FAILURE") for tick in state["ticks"]):
            break
        assert time.monotonic() < end
        time.sleep(1)
    ask(STOP, id=state["id"])
    return state["ticks"]


@pytest.fixture(scope="module")
def watched(browser, server, ui):
    """A page so high that it draws long tables, and the requests that it made; ``ui`` has met the greeting."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1500, "height": 6_000})
    page, requests = context.new_page(), []
    context.on("request", lambda request: requests.append(request.url))
    yield page, requests
    context.close()


@pytest.fixture
def looked_at(watched, server, evil):
    """Open a page and whatever it opens, and tell what is on it that should not be."""
    page, requests = watched
    url, asked = evil
    hosts = [urlsplit(url).netloc, HOST]

    def look(path, *, waits_for=None, tabs=()):
        page.goto(path)
        if waits_for is not None:
            page.get_by_text(waits_for).first.wait_for(timeout=30_000)
        problems, said = [], []

        def see(pause):
            page.wait_for_timeout(pause)
            problems.extend(page.evaluate(FOUND, hosts))
            said.append(page.locator("body").inner_text())

        # The UI makes links of a log a while after it is drawn.
        see(2_000)
        for tab in tabs:
            page.get_by_role("tab", name=tab).last.click()
            see(2_000)
        for opener in OPENERS:
            for number in range(min(8, page.get_by_text(opener, exact=True).count())):
                page.get_by_text(opener, exact=True).nth(number).click(timeout=5_000)
                see(600)
                page.get_by_role("dialog").get_by_role("button", name=ENDS).first.click()
                page.get_by_role("dialog").first.wait_for(state="hidden")
        ours = urlsplit(server.url).netloc
        elsewhere = [each for each in requests if each.startswith("http") and urlsplit(each).netloc != ours]
        assert problems == []
        assert elsewhere == []
        assert asked == []
        assert page.evaluate("window.hostile") is None
        return "\n".join(said)

    return look


@pytest.mark.parametrize("stage", STAGES)
def test_the_pages_of_an_asset(looked_at, runs, names, stage):
    for name in (names["good"], names["bad"]):
        partition = quote(name, safe="")
        said = looked_at(
            f"/assets/{stage}?view=partitions&partition={partition}", waits_for="View all historical events"
        )
        if stage in SHOWN and name == names["good"]:
            assert SHOWN[stage] in said
    for view in ("overview", "events", "partitions"):
        looked_at(f"/assets/{stage}?view={view}")


@pytest.mark.parametrize("check", CHECKS)
def test_the_pages_of_a_check(looked_at, runs, check):
    path = f"/assets/atmosphere_record?view=checks&checkDetail={check}"
    said = looked_at(path, waits_for=check, tabs=("Execution history", "Partitions"))
    if check == "license_known":
        assert "license.png" in said


def test_the_pages_of_runs(looked_at, runs):
    looked_at("/runs")
    said = "".join(looked_at(f"/runs/{run_id}", waits_for="RUN_") for run_id in runs)
    # What strangers say is there to be read.
    assert "http[:]//" in said
    assert "license.png" in said


def test_the_pages_of_the_sensor(looked_at, ticks, watched):
    said = looked_at(f"{LOCATION}/sensors/new_datasets", waits_for="new_datasets")
    assert "new_datasets" in said
    page, _ = watched
    for tag in ("Skipped", "Requested", "Failure"):
        for each in page.get_by_text(tag).all()[:2]:
            each.hover()
            page.wait_for_timeout(300)
    assert page.evaluate("window.hostile") is None


def test_the_pages_that_list(looked_at, runs, names):
    for path in (f"{LOCATION}/asset-groups/promotion", f"{LOCATION}/jobs/promote", "/assets", "/automation"):
        looked_at(path)
