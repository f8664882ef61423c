"""Dagster's UI on the sandbox, until somebody stops it."""

import http.client
import json
import os
import sys
import time
from pathlib import Path

import click
import dagster as dg

from atdata_pipelines.config.dagster_instance import PROJECT
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.sandbox_lab import FOLDER
from atdata_pipelines.sandbox.services import HOST, Keeper, Service, is_taken

from .digits import NAME, sandbox, store_digits
from .steps import Steps

FIRST_PORT = 3000
STOPPING_SECONDS = 20.0
"""How long Dagster may take to stop before it is killed."""

SAY_EVERY = 5.0
LOADED = "{ locationStatusesOrError { ... on WorkspaceLocationStatusEntries { entries { loadStatus } } } }"

PATIENCE = {
    "DAGSTER_GRPC_TIMEOUT_SECONDS": "600",
    "DAGSTER_PROXY_SERVER_HEARTBEAT_TIMEOUT": "600",
    "DAGSTER_GRPC_PROXY_HEARTBEAT_TTL_SECONDS": "600",
}
"""Dagster's servers end where they hear nothing from each other for half a minute; a busy machine is that slow."""


def run_ui() -> None:
    """Start sandbox and UI, say where they stand, and stop everything with this program or its parent."""
    parent = os.getppid()
    steps = Steps(3)
    steps.begin("Start the sandbox: Redis, S3, a PDS and its directory, on this machine only")
    with sandbox() as box:
        steps.end()
        steps.begin(f"Store the dataset {NAME!r} in the lab, and make it a partition")
        store_digits(box)
        with dg.DagsterInstance.get() as instance:
            add_keys(instance, [NAME])
        steps.end()
        # Dagster's usual port, or the next one that is free.
        port = next((port for port in range(FIRST_PORT, FIRST_PORT + 100) if not is_taken(port)), 0)
        steps.begin("Start Dagster: code server, daemon and webserver")
        dagster = _dagster(box.folder, port)
        steps.say(f"its log: {dagster.log}")
        keeper = Keeper([dagster], grace=STOPPING_SECONDS)
        try:
            said = 0.0
            while (missing := _missing(port)) and os.getppid() == parent:
                keeper.check()
                if steps.seconds - said >= SAY_EVERY:
                    said = steps.seconds
                    steps.say(f"{said:3.0f} s: {missing}")
                time.sleep(0.2)
            steps.end()
            click.secho(f"Dagster's UI: http://{HOST}:{port}/assets", fg="green", bold=True)
            click.echo(f"DAGSTER_HOME: {os.environ['DAGSTER_HOME']} (runs, partitions and switches are kept there)")
            click.echo(f"The dataset {NAME!r} is a partition: Assets > promotion > Materialize, or Jobs > promote.")
            click.echo(f"Services and data: {FOLDER}/")
            click.echo("For commands in another shell: .venv/bin/atdata-pipelines sandbox")
            click.echo("Ctrl-C stops everything.")
            while os.getppid() == parent:
                keeper.check()
                time.sleep(0.5)
        finally:
            click.echo("\nStopping Dagster and the sandbox")
            keeper.stop()


def _dagster(folder: Path, port: int) -> Service:
    # Started in the sandbox's folder: Dagster loads a .env of its working directory over what is set, and
    # one in the project's root may name the real network.
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(PROJECT / "workspace.yaml")]
    environ = {**PATIENCE, **os.environ, "PYTHONWARNINGS": "ignore:Function `dev_command`"}
    return Service(
        "dagster",
        [*command, "-h", HOST, "-p", str(port), "--log-level", "warning"],
        environ,
        folder,
        folder / "logs" / "dagster.log",
        lambda: not _missing(port),
    )


def _missing(port: int) -> str:
    """What the UI still lacks; nothing where it shows the definitions."""
    server = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        server.request("POST", "/graphql", json.dumps({"query": LOADED}), {"Content-Type": "application/json"})
        answer = json.load(server.getresponse())
    except (OSError, http.client.HTTPException, ValueError):
        return "the webserver starts"
    finally:
        server.close()
    entries = answer["data"]["locationStatusesOrError"]["entries"]
    if entries and all(entry["loadStatus"] == "LOADED" for entry in entries):
        return ""
    return "the webserver answers, the definitions are loaded"
