"""The four stages as assets, with their checks, and the catalogue that follows them."""

__all__ = [
    "catalogue_asset",
    "check_config",
    "check_results",
    "checks",
    "materialisation_events",
    "stage_assets",
    "stage_context",
    "step_retries",
    "upstream",
]
