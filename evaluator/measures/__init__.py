"""Pure measures: signals in, numbers out."""
