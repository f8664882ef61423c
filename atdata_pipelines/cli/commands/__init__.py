"""The commands of ``atdata-pipelines``, a file for each."""

__all__ = [
    "accept_command",
    "add_command",
    "doctor_command",
    "list_command",
    "preview_command",
    "promote_command",
    "prune_command",
    "published",
    "reconcile_command",
    "remove_command",
    "retract_command",
    "sandbox_command",
    "show_command",
    "status_command",
    "verify_command",
]
