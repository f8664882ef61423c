"""Jobs: the promotion of one dataset or many, the weekly verification, and the planner."""
