"""A network that was trained, put to use: found again, asked, and given away."""
