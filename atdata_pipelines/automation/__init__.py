"""What promotes by itself: the sensor, the schedules, and what they know of earlier runs."""

__all__ = ["automation_conditions", "run_history", "sensor"]
