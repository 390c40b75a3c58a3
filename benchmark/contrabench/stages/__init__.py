"""The kinds of stages of a run: what each depends on, makes and costs."""
