"""The four stages as assets, with their checks."""
