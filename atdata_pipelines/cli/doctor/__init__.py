"""Looks at what a promotion needs, and says how to mend what is wrong: ``examine`` runs all checks."""

from .check import CheckResult
from .examination import CHECKS, examine

__all__ = ["CHECKS", "CheckResult", "examine"]
