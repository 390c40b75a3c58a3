"""Where the stages of a study are made: processes of this machine, or a Ray cluster."""
