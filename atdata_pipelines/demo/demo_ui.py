"""The sandbox with Dagster's UI."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import dagster as dg

from atdata_pipelines.config.partitions import add_keys

from .digits import NAME

FIRST_PORT = 3000


def ui() -> int:
    """Run the UI until Ctrl-C; the exit status."""
    from .demo_sandbox import FOLDER, sandbox, store_digits

    with sandbox() as box:
        store_digits(box)
        with dg.DagsterInstance.get() as instance:
            add_keys(instance, [NAME])
        port = _free_port()
        click.secho(f"Dagster's UI, in half a minute: http://127.0.0.1:{port}/assets", fg="green", bold=True)
        click.echo(f"DAGSTER_HOME: {os.environ['DAGSTER_HOME']} (runs, partitions and switches are kept there)")
        click.echo(f"The dataset {NAME!r} is a partition: Assets > promotion > Materialize, or Jobs > promote.")
        click.echo(f"Services and data: {FOLDER}/. Ctrl-C stops everything.\n")
        # Started in the sandbox's folder: Dagster loads a .env of its working directory over what is set, and
        # one in the project's root may name the real network.
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(Path("workspace.yaml").resolve())]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore:Function `dev_command`"}
        running = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port), "--log-level", "warning"], cwd=FOLDER, env=environment
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return running.wait()
        finally:
            # After Ctrl-C in a terminal it is ending already.
            running.send_signal(signal.SIGINT)
            running.wait()


def _free_port() -> int:
    """Dagster's usual port, or the next one that is free."""
    for port in range(FIRST_PORT, FIRST_PORT + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    return 0
