"""Promotion: the four stages from a local dataset to a published record, and what they remember."""

__all__ = [
    "bulk",
    "copies",
    "inventory",
    "operations",
    "options",
    "overrides",
    "plan",
    "prepare",
    "records",
    "scheduling",
    "stages",
    "verify",
]
