"""Building data sets out of a user's own recordings."""
