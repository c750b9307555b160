"""Building data sets from a user's own recordings."""
