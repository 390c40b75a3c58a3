"""From rows to the answer: tables, verdicts, pictures, the page."""

from contrabench.called import make_called

make_called(__name__)
