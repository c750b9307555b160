"""Where and how networks compute: devices, precision, memory, schedules, and chunks through one model."""
