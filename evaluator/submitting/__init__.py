"""What is checked before a submission is pushed."""
