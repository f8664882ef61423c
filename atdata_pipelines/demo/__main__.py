"""``python -m atdata_pipelines.demo``: from local storage to a published record, step by step.

With ``ui`` the same sandbox with Dagster's UI.
"""

import os
import signal
import subprocess
import sys

import click

from .steps import Steps


def demo() -> int:
    """Run all steps; the exit status."""
    steps = Steps(5)
    steps.begin("Start the sandbox: Redis, S3, a PDS and its directory, on this machine only")
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.atmosphere.record_format.record_keys import ENTRY
    from atdata_pipelines.config.sandbox_lab import FOLDER, LAB, PUBLIC

    from .digits import NAME, sandbox, store_digits

    with sandbox() as box:
        steps.end(
            f"Redis {box.redis_url}    S3 {box.s3['AWS_ENDPOINT']}    PDS {box.pds_url} ({box.handle})",
            f"data, keys and ports are kept in {FOLDER}/" + (" (it was running already)" if box.attached else ""),
        )

        steps.begin("Store a dataset in the lab: the 1,797 handwritten digits of UCI")
        entry, new = store_digits(box)
        steps.end(
            f"{'stored' if new else 'is there already'}: {entry.data_urls[0]}",
            f"in the index as {entry.name!r}, entry {entry.cid}",
        )

        steps.begin(f"Promote it with Dagster; the shards are copied from bucket {LAB!r} to {PUBLIC!r}")
        client = AtmosphereClient()
        before = client.latest_commit(box.did)
        from atdata_pipelines.cli.runner import promote_all

        if not promote_all([NAME], {}).succeeded:
            return 1
        changed = client.latest_commit(box.did) != before
        steps.end(
            "the account's repository has new commits"
            if changed
            else "nothing changed: the account's repository has no new commit"
        )
        records, _ = client.list_records(ENTRY, repo=box.did)
        uri = next(record.uri for record in records if record.value["name"] == NAME)

        steps.begin("Read it back anonymously: no login, no Redis, no S3 keys, only the at-uri")
        known = ("ATDATA_PDS_URL", "ATDATA_PLC_URL", "ATDATA_ALLOW_PRIVATE")
        anonymous = {name: value for name, value in os.environ.items() if name in (*known, "PATH", "HOME")}
        read = subprocess.run([sys.executable, "-m", "atdata_pipelines.demo.anonymous_reader", uri], env=anonymous)
        if read.returncode:
            return read.returncode
        steps.end()

        steps.begin("Go on from here")
        click.secho(f"      {uri}", fg="green", bold=True)
        click.echo(f"      its record: {box.pds_url}/xrpc/com.atproto.repo.getRecord?{query(uri)}")
        click.echo("      (while the sandbox runs)\n")
        click.echo("      make demo                 again: nothing changes, no second record is made")
        click.echo("      make ui                   the pipeline in Dagster's UI")
        click.echo("      .venv/bin/atdata-pipelines sandbox")
        click.echo("                                keeps the sandbox running for programs of your own\n")
    return 0


def query(uri: str) -> str:
    """The parameters of getRecord for an at-uri."""
    from atdata_core.atmosphere.record_format.record_keys import AtUri

    parsed = AtUri.parse(uri)
    return f"repo={parsed.authority}&collection={parsed.collection}&rkey={parsed.rkey}"


def main() -> int:
    """Run the demo, or with ``ui`` the UI; errors are one line."""
    # A script's shell starts what runs in the background with Ctrl-C ignored.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)
    from atdata_core.errors import AtdataError
    from atdata_pipelines.sandbox import SandboxError

    try:
        if sys.argv[1:] == ["ui"]:
            from .ui import run_ui

            run_ui()
            return 0
        return demo()
    except (AtdataError, SandboxError) as error:
        click.secho(f"Error: {error}", fg="red", err=True)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
