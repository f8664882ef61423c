"""The four stages of a promotion, and who can read what they publish."""
