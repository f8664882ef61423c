"""The four stages of a promotion, and who can read what they publish."""

__all__ = ["copy_stage", "inventory_stage", "publish", "resolved_values", "schema_stage", "visibility"]
