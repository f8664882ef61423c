"""Promotion of many datasets at once."""

__all__ = ["many"]
