"""Commands that ask the network alone: anybody can use them."""

__all__ = ["catalogue_command", "export_command", "pull_command"]
