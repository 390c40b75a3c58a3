"""The answers as figures for a paper: the forest plot, or the curves over label budgets."""
