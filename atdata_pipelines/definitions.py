"""What Dagster loads: the instances of components that stand in ``defs/``."""

from pathlib import Path

import dagster as dg

from .components.dataset_promotion import promotion_definitions
from .config.dagster_instance import warn_if_state_is_lost
from .config.executors import default_executor

PACKAGE = Path(__file__).parent


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions of this project; of the installed package, where the project is not there."""
    warn_if_state_is_lost()
    executor = dg.Definitions(executor=default_executor())
    if not (PACKAGE.parent / "pyproject.toml").is_file():
        return dg.Definitions.merge(promotion_definitions(), executor)
    return dg.Definitions.merge(dg.load_from_defs_folder(path_within_project=PACKAGE), executor)
