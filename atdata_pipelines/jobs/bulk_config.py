"""What the job that promotes many datasets is asked, and how it names those that fail."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from atdata_core.promotion.options import REQUIREMENTS

from ..config.run_config import with_options
from ..config.settings import DEFAULT, Settings

OP = "promote_datasets"

FAILED = "failed_table"

NAMED = 5
"""Datasets that the error of the run names, and a warning."""


@with_options(REQUIREMENTS)
class BulkConfig(dg.Config):
    """Which datasets are promoted. Nothing said: all that is missing on the network or has changed since."""

    datasets: list[str] = Field(
        default=[],
        description="Names of datasets. Empty, and no pattern: all that is missing on the network or has changed.",
    )
    pattern: str | None = Field(
        default=None,
        description="Also those whose name is like this; * and ? stand for anything: images-*. Those whose "
        "metadata say promote: false are skipped.",
    )
    restore: bool = Field(
        default=False,
        description="Of datasets that are named here: write again what was deleted on the network or retracted.",
    )

    @property
    def names_some(self) -> bool:
        """Whether somebody says which datasets; else it is all that is due."""
        return bool(self.datasets or self.pattern)


def bulk_config(config: BulkConfig | None = None, settings: Settings = DEFAULT) -> dict[str, Any]:
    """The run configuration of a bulk."""
    return {"ops": {settings.named(OP): {"config": (config or BulkConfig()).model_dump()}}}


def config_of(run: dg.DagsterRun, settings: Settings = DEFAULT) -> Mapping[str, Any]:
    """The configuration of a bulk run."""
    return run.run_config.get("ops", {}).get(settings.named(OP), {}).get("config", {})


def not_promoted(dataset: str, reason: str) -> str:
    """What is said of a dataset that failed."""
    return f"{dataset} was not promoted: {reason}"


def named(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
