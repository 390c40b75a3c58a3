"""From rows to the answer: tables, verdicts, pictures, the page."""
