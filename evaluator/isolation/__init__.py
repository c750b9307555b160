"""What a submission runs in: limits, namespaces, control groups, and the processes that hold them."""
