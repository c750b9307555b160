"""Numbers that presets and commands need before there is any signal: without torch, so that these come at once."""

MODEL_SAMPLE_RATE = 44_100


def hop_samples(chunk_samples: int, overlap: float) -> int:
    """Samples between the starts of two chunks; ValueError unless 0 <= overlap < 1 leaves at least one."""
    hop = int((1 - overlap) * chunk_samples)
    if not 0 <= overlap < 1 or hop < 1:
        raise ValueError(
            f"overlap: expected a fraction from 0 to below 1 that leaves a hop of at least one sample "
            f"of a chunk of {chunk_samples}, found {overlap}"
        )
    return hop
