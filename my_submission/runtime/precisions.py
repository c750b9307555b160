"""The names of the precisions in which networks compute; see `devices`, which imports torch."""

NAMES = ("fp32", "bf16", "fp16")
