"""The lab of a first run: what ``make demo``, ``make ui`` and ``atdata-pipelines sandbox`` set alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atdata_pipelines.sandbox import Sandbox

FOLDER = ".sandbox"
LAB, PUBLIC = "lab", "public"


def lab_environ(box: Sandbox) -> dict[str, str]:
    """Variables of a sandbox whose shards are published as copies that anybody can read, as a lab would do it.

    DAGSTER_HOME is among them, a folder in the sandbox's own, which is made here.
    """
    # Dagster is imported when the services run already.
    from atdata_pipelines.config.dagster_instance import prepare_home

    return {
        **box.environ(),
        "ATDATA_BUCKET": LAB,
        "ATDATA_PUBLISH_BUCKET": PUBLIC,
        "ATDATA_PUBLISH_PUBLIC_URL": f"{box.public_url}/{PUBLIC}",
        "DAGSTER_HOME": str(prepare_home(box.folder / "dagster_home")),
    }
