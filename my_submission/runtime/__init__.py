"""Where and how networks compute: devices, precision, memory, schedules, chunks through one model."""
