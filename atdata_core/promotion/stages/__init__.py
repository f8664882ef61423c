"""The four stages of a promotion, and the looks between them."""
