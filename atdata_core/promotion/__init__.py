"""Promotion: the four stages from a local dataset to a published record, and what they remember."""
