"""What a person asks for beside a promotion: status, acceptance, retraction, reconciliation, recovery."""

__all__ = ["accept", "published_state", "reconcile", "recover", "retract", "status"]
