"""What Dagster loads: the instances of components that stand in ``defs/``."""

from pathlib import Path

import dagster as dg

from .home import warn_if_state_is_lost


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions of this project."""
    warn_if_state_is_lost()
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
