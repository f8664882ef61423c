"""Looks at what a promotion needs, and says how to mend what is wrong: ``examine`` runs all checks."""

from .examining import CHECKS, examine
from .finding import Finding

__all__ = ["CHECKS", "Finding", "examine"]
