"""Dagster assets that promote datasets to the AT Protocol network, and what a person starts."""
