import http.server
import logging
import re
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from atdata_core.promotion.options import OPTIONS
from atdata_pipelines.components.dataset_promotion import promotion_definitions
from atdata_pipelines.config import dagster_instance

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent


def environment(**more):
    return {"PATH": f"{BIN}:/usr/bin:/bin", "VIRTUAL_ENV": str(BIN.parent), "LANG": "C.UTF-8", **more}


@pytest.fixture(scope="module")
def definitions():
    return promotion_definitions()


# The commands themselves, each a process that imports all of Dagster: what a person types must work.
@pytest.mark.slow
def test_the_commands_of_dagster_and_dg_accept_the_definitions_with_no_variable_set(tmp_path):
    commands = [
        ["dg", "check", "defs"],
        ["dagster", "definitions", "validate", "-w", "workspace.yaml"],
    ]
    started = [
        subprocess.Popen(
            [BIN / name, *rest],
            cwd=ROOT,
            env=environment(HOME=str(tmp_path)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, *rest in commands
    ]
    answers = [process.communicate(timeout=180) for process in started]
    for process, (out, err) in zip(started, answers, strict=True):
        assert process.returncode == 0, out + err


def test_the_definitions_import_nothing_that_only_steps_ticks_and_commands_need():
    # Over a second: a fresh process, which imports Dagster.
    program = (
        "import sys, dagster; before = set(sys.modules); import atdata_pipelines.definitions\n"
        "made = atdata_pipelines.definitions.promotion_definitions()\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before}, 'and of ours')\n"
        "print(*(name for name in sys.modules if name.startswith('atdata_core.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded, ours = (set(line.split()) for line in done.stdout.splitlines())
    services = {"atproto", "atproto_client", "boto3", "botocore", "httpx", "redis", "dagster_aws"}
    assert loaded & {"numpy", "PIL", "sqlalchemy", *services} == set()
    work = ("atmosphere.client", "promotion.stages.publish", "samples.schema", "shards.dataset", "stores.opening")
    assert ours & {f"atdata_core.{name}" for name in (*work, "local.local_index", "state.facts")} == set()


def test_the_definitions_of_the_project_are_an_instance_of_the_component():
    from atdata_pipelines.definitions import defs

    loaded = defs.load_fn()
    assert {key.to_user_string() for key in loaded.resolve_asset_graph().get_all_asset_keys()} == {
        "local_dataset",
        "published_schema",
        "copied_shards",
        "atmosphere_record",
        "verification",
    }
    assert loaded.executor is dg.in_process_executor


def test_the_assets_stand_in_one_line_in_one_group_with_one_partition_per_dataset(definitions):
    graph = definitions.get_repository_def().asset_graph
    line = ["local_dataset", "published_schema", "copied_shards", "atmosphere_record", "verification"]
    assert [key.to_user_string() for key in graph.toposorted_asset_keys] == line
    for before, after in pairwise(line):
        assert graph.get(dg.AssetKey(after)).parent_keys == {dg.AssetKey(before)}
    nodes = [graph.get(dg.AssetKey(name)) for name in line[:-1]]
    assert {node.group_name for node in nodes} == {"promotion"}
    assert {node.partitions_def for node in nodes} == {dg.DynamicPartitionsDefinition(name="dataset")}
    assert all(node.code_version for node in nodes)


def test_sensor_and_schedule_are_off_until_a_person_turns_them_on(definitions):
    repository = definitions.get_repository_def()
    sensor = repository.get_sensor_def("new_datasets")
    schedule = repository.get_schedule_def("nightly_promotion")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_the_launch_dialog_offers_everything_that_a_person_can_say(definitions):
    job = definitions.resolve_job_def("promote")
    offered = job.get_run_config_for_partition_key("any")
    # Their names and defaults stand in the snapshots, word for word.
    everything = {name: option.default for name, option in OPTIONS.items()}
    assert offered == {"ops": {"atmosphere_record": {"config": everything}}}
    fields = job.get_node_named("atmosphere_record").definition.config_schema.config_type.fields
    assert {name: each.description for name, each in fields.items()} == {
        name: option.help for name, option in OPTIONS.items()
    }


def test_no_secret_stands_in_the_configuration_of_a_resource(environ):
    definitions = promotion_definitions()
    shown = str(
        [
            (name, resource.config_schema.default_value if resource.config_schema.default_provided else None)
            for name, resource in definitions.get_repository_def().get_top_level_resources().items()
        ]
    )
    assert environ["AWS_SECRET_ACCESS_KEY"] not in shown
    assert environ["ATDATA_APP_PASSWORD"] not in shown


def test_the_s3_resource_keeps_one_client_and_the_fields_of_dagster_aws(environ):
    from dagster_aws.s3 import S3Resource

    from atdata_pipelines.config.resources import ShardS3Resource

    resource = ShardS3Resource()
    assert {*ShardS3Resource.model_fields} == {*S3Resource.model_fields}
    assert resource.get_client() is ShardS3Resource().get_client()
    assert resource.get_client().meta.endpoint_url == environ["ATDATA_S3_ENDPOINT"]
    assert resource.endpoint().secret_key == environ["AWS_SECRET_ACCESS_KEY"]
    other = ShardS3Resource(endpoint_url="http://localhost:1", aws_access_key_id="a", aws_secret_access_key="b")
    assert other.endpoint().endpoint_url == "http://localhost:1"
    assert ShardS3Resource(use_unsigned_session=True).endpoint().anonymous


@pytest.fixture
def failing_s3(tmp_path):
    """A TLS server that no authority vouches for and that answers 503; its URL, and the paths it was asked for."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=localhost")
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "both.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    asked = []

    class Failing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(503)
            self.end_headers()

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    with http.server.ThreadingHTTPServer(("localhost", 0), Failing) as server:
        # The handshake belongs to the thread of the request: a refused one must not stop the server.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}", asked
        server.shutdown()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_attempts_and_verify_of_the_s3_resource_hold_for_the_stages_and_for_copies(failing_s3):
    from atdata_core.errors import ServiceRefusedError, ServiceUnavailableError
    from atdata_pipelines.config.resources import DestinationResource, ShardS3Resource

    url, asked = failing_s3
    keys = {"endpoint_url": url, "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    with pytest.raises(ServiceRefusedError, match="certificate that no authority vouches for"):
        ShardS3Resource(**keys, max_attempts=1).endpoint().stat("some-bucket", "a.tar")
    assert asked == []
    endpoint = ShardS3Resource(**keys, max_attempts=2, verify=False).endpoint()
    with pytest.raises(ServiceUnavailableError, match="503"):
        endpoint.stat("some-bucket", "a.tar")
    assert asked == ["/some-bucket/a.tar"] * 2
    assert DestinationResource(bucket="copies").bucket_store(endpoint).endpoint == endpoint
    elsewhere = (
        DestinationResource(bucket="copies", endpoint_url="https://127.0.0.1:1").bucket_store(endpoint).endpoint
    )
    assert (elsewhere.attempts, elsewhere.verify) == (2, None)


def test_use_ssl_of_the_s3_resource_may_not_contradict_its_address(environ):
    from atdata_core.errors import CredentialsError
    from atdata_pipelines.config.resources import ShardS3Resource

    assert ShardS3Resource(use_ssl=False).endpoint() == ShardS3Resource().endpoint()
    with pytest.raises(CredentialsError, match=r"use_ssl: false, but https://h is reached through TLS"):
        ShardS3Resource(use_ssl=False, endpoint_url="https://h").endpoint()


def test_the_region_of_the_s3_resource_goes_with_the_address_of_the_environment(environ):
    from atdata_pipelines.config.resources import ShardS3Resource

    endpoint = ShardS3Resource(region_name="eu-west-1").endpoint()
    assert (endpoint.region, endpoint.endpoint_url) == ("eu-west-1", environ["ATDATA_S3_ENDPOINT"])


@pytest.mark.parametrize("address", ["hunter2", "http://u:hunter2@h", "http://u:hunter2/x@h", "http://[hunter2"])
def test_an_address_that_is_none_is_named_by_where_it_stands(environ, monkeypatch, address):
    from atdata_core.errors import CredentialsError
    from atdata_pipelines.config.resources import DestinationResource, ShardS3Resource

    reading = ShardS3Resource().endpoint()
    monkeypatch.setenv("ATDATA_PUBLISH_ENDPOINT", address)
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", address)
    for source, call in {
        "ATDATA_S3_ENDPOINT": ShardS3Resource().endpoint,
        "ATDATA_PUBLISH_ENDPOINT": lambda: DestinationResource(bucket="copies").bucket_store(reading),
        "endpoint_url of the S3 resource": ShardS3Resource(endpoint_url=address).endpoint,
        "endpoint_url of the destination": lambda: DestinationResource(
            bucket="c", endpoint_url=address
        ).bucket_store(reading),
    }.items():
        with pytest.raises(CredentialsError, match=f"^{source}: ") as refusal:
            call()
        assert "hunter2" not in str(refusal.value)


def test_a_destination_falls_back_to_the_reading_service_and_names_a_missing_key(environ, monkeypatch):
    from atdata_core.stores.s3.objects import S3Endpoint
    from atdata_pipelines.config.environment import MissingVariableError
    from atdata_pipelines.config.resources import DestinationResource, ShardS3Resource

    reading = ShardS3Resource().endpoint()
    assert DestinationResource().bucket_store(reading) is None
    monkeypatch.setenv("ATDATA_PUBLISH_BUCKET", "public")
    monkeypatch.setenv("ATDATA_PUBLISH_PUBLIC_URL", "https://data.example.org")
    store = DestinationResource().bucket_store(reading)
    assert (store.bucket, store.public_url) == ("public", "https://data.example.org")
    assert store.endpoint.endpoint_url == reading.endpoint_url
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(MissingVariableError, match="ATDATA_PUBLISH_ACCESS_KEY_ID"):
        DestinationResource().bucket_store(S3Endpoint())
    monkeypatch.setenv("ATDATA_PUBLISH_ACCESS_KEY_ID", "writer")
    with pytest.raises(MissingVariableError, match="ATDATA_PUBLISH_SECRET_ACCESS_KEY"):
        DestinationResource().bucket_store(reading)


# With databases on disk, as a person has them.
def test_where_there_is_no_project_a_prepared_home_sends_and_asks_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(dagster_instance, "PROJECT", tmp_path)
    prepared = dagster_instance.prepare_home(tmp_path / "home")
    with dg.DagsterInstance.from_config(str(prepared)) as instance:
        assert (instance.telemetry_enabled, instance.nux_enabled) == (False, False)


def test_a_prepared_home_keeps_the_settings_of_the_project(tmp_path):
    prepared = dagster_instance.prepare_home(tmp_path / "state" / "dagster_home")
    assert prepared.is_absolute()
    assert "telemetry" in (prepared / "dagster.yaml").read_text()
    with dg.DagsterInstance.from_config(str(prepared)) as instance:
        assert not instance.telemetry_enabled
        instance.add_dynamic_partitions("dataset", ["kept"])
    (prepared / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    dagster_instance.prepare_home(prepared)
    with dg.DagsterInstance.from_config(str(prepared)) as instance:
        assert instance.get_dynamic_partitions("dataset") == ["kept"]


@pytest.mark.parametrize(
    ("variables", "arguments", "warns"),
    [
        ({"DAGSTER_IS_DEV_CLI": "1"}, ["dagster", "api", "grpc"], True),
        ({"DAGSTER_IS_DEV_CLI": "1", "DAGSTER_HOME": "/kept"}, ["dagster", "api", "grpc"], False),
        ({}, ["dagster", "api", "grpc"], False),
        ({"DAGSTER_IS_DEV_CLI": "1"}, ["dagster", "api", "execute_run"], False),
    ],
)
def test_dagster_dev_says_when_its_state_will_be_lost(monkeypatch, caplog, variables, arguments, warns):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(logging.getLogger("dagster"), "propagate", True)
    dagster_instance.warn_if_state_is_lost.cache_clear()
    dagster_instance.warn_if_state_is_lost()
    assert ("make ui" in caplog.text and "export DAGSTER_HOME=" in caplog.text) is warns


def test_nothing_private_of_dagster_is_imported():
    root = Path(__file__).resolve().parents[3]
    imported = {
        f"{path.relative_to(root)}: {module}"
        for package in ("atdata_core", "atdata_pipelines")
        for path in (root / package).rglob("*.py")
        for module in re.findall(r"^\s*(?:from|import) (dagster[\w.]*)", path.read_text(), re.MULTILINE)
    }
    assert imported
    assert not {each for each in imported if "._" in each}
