"""Promotion of many datasets at once."""
