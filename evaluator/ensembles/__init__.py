"""What studies an ensemble: its members' estimates, kept, and the mathematics of their weights."""
