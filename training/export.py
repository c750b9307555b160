"""Writes trained networks in the formats of the released ones: MDX-Net as ONNX, Demucs as `.th` packages."""

import warnings
from pathlib import Path

import torch

from my_submission.models.tfc_tdf import SPECTROGRAM_CHANNELS, TfcTdfNet


def export_onnx(network: TfcTdfNet, path: Path, dim_t: int) -> None:
    """Write `network` as ONNX: `input` -> `output`, float32 (batch, 4, dim_f, dim_t), any batch.

    BatchNorm after a convolution is folded into it, as in the released files.  The network is left in the
    mode (training or evaluation) that it came in.
    """
    if dim_t % network.config.multiple:
        raise ValueError(
            f"export_onnx: dim_t: expected a multiple of {network.config.multiple}, found {dim_t}; "
            "choose another number of frames or fewer blocks"
        )
    example = torch.zeros(1, SPECTROGRAM_CHANNELS, network.config.dim_f, dim_t)
    was_training = network.training
    network.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The TorchScript exporter needs no further package and folds BatchNorm; it says at each call that
        # another one is the default.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    network.train(was_training)
