"""Commands that ask the network alone: anybody can use them."""

__all__ = ["export_command", "pull_command"]
