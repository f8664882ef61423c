"""A first run: a real dataset from local storage to a published record, on this machine."""

__all__ = []
