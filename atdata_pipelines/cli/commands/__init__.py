"""The commands of ``atdata-pipelines``, a file for each."""

__all__ = [
    "accept_command",
    "doctor_command",
    "plan_command",
    "promote_command",
    "prune_command",
    "reconcile_command",
    "remove_command",
    "retract_command",
    "sandbox_command",
    "status_command",
    "verify_command",
]
