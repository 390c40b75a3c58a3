"""The one loop, its budgets and its checkpoints."""
