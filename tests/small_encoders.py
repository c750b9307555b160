"""Small query encoders with random weights, and files with them in the forms of the published ones."""

from pathlib import Path

import torch

from my_submission.models.zero_shot.encoder import EncoderLayout, QueryEncoder

SMALL_LAYOUT = EncoderLayout(8, (2, 2, 3, 1), (1, 2, 2, 4), 64)
"""Its queries are of 64 numbers, and it has blocks with and without a shift."""


def random_encoder(layout: EncoderLayout) -> QueryEncoder:
    """Statistics of norms and biases of attention included. Its bands are sums of a few bins of the transform."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = QueryEncoder(layout)
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if name.endswith("running_var"):
                value.data.uniform_(200, 600)
            elif name.endswith("running_mean"):
                value.data.normal_(-20, 5)
            elif name.endswith("bias_table"):
                value.data.normal_(0, 1)
            elif name.endswith("bias"):
                value.data.normal_(0, 0.2)
            elif name.endswith("melW"):
                bins = torch.arange(len(value))[:, None] * layout.bins / len(value)
                value.data.copy_((1 - (bins - torch.arange(layout.bins)).abs()).clamp(min=0))
    return network.requires_grad_(False).eval()


def encoder_file(path: Path, prefix: str = "sed_model.") -> Path:
    """Write a small encoder as a published file has it: with its transform, its tagger and what can be computed."""
    state = dict(random_encoder(SMALL_LAYOUT).state_dict())
    state |= {
        "spectrogram_extractor.stft.conv_real.weight": torch.zeros(2, 1, 4),
        "tscam_conv.weight": torch.zeros(3, 3),
        "head.bias": torch.zeros(3),
        "layers.0.blocks.1.attn_mask": torch.zeros(2, 2),
        "layers.0.blocks.1.attn.relative_position_index": torch.zeros(2, 2, dtype=torch.int64),
    }
    content = {prefix + name: value for name, value in state.items()}
    if prefix.startswith("at_model."):
        content["conv_block7.conv1.weight"] = torch.zeros(2, 2)
    torch.save({"epoch": 3, "state_dict": content}, path)
    return path
