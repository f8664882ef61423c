"""What keeps promotions going: due, attempts, blocks, and what a person asks for."""

__all__ = ["accept", "published_state", "reconcile", "recover", "retract", "status"]
