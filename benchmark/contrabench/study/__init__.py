"""What is run in which order, and the audit of it."""

from contrabench.called import make_called

make_called(__name__)
