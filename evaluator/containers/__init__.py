"""The sandbox' contract in a container: engine, image, and the processes at both ends."""
