"""The four stages as assets, with their checks."""

__all__ = ["checks", "materialisation_events", "stage_assets", "stage_context", "step_retries", "upstream"]
