"""What plug-ins implement, and how they are found: no network, no reader, no report in here."""
