"""Where bytes lie: opening, reading ahead, probing, and the services behind URLs."""
