"""Hostile input for everything that reads what others wrote, and a watch over what it does to the process."""
