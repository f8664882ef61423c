"""Looks at what a promotion needs, and says how to mend what is wrong: ``examine`` runs all checks."""

from .check import Finding
from .examination import CHECKS, examine

__all__ = ["CHECKS", "Finding", "examine"]
