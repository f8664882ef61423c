"""What is due, what is blocked, and when a failed dataset is tried again."""

__all__ = ["due", "retry_policy"]
