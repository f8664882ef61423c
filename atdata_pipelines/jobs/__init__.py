"""Jobs: the promotion of one dataset or many, the weekly verification, and the planner."""

__all__ = ["bulk_config", "planner", "promotion_jobs", "verification_jobs"]
