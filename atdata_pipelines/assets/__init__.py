"""The four stages as assets, with their checks, and the catalogue that follows them."""

__all__ = [
    "catalogue_asset",
    "checks",
    "materialisation_events",
    "stage_assets",
    "stage_context",
    "step_retries",
    "upstream",
]
