"""An ensemble as data (preset), what it runs (passes, units), and the engine that runs it."""
