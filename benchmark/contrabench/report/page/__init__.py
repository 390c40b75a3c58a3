"""The parts of the report page: templates, style, scripts, and what they are filled with."""
