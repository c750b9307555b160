"""Writes trained networks in the formats of the released ones: MDX-Net as ONNX, Demucs as `.th` packages."""

import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from demucs.htdemucs import HTDemucs

from my_submission.models.tfc_tdf import SPECTROGRAM_CHANNELS, TfcTdfNet
from training.config import ConfigError, MdxNetSettings, TrainingConfig, as_document, parse_config
from training.networks import MdxNet, build_network
from training.state import load_state


def load_run(folder: Path) -> tuple[TrainingConfig, torch.nn.Module, int]:
    """A run's configuration, its network with the averaged weights, and its step. Raises ConfigError."""
    state = load_state(folder)
    if state is None:
        raise ConfigError(f"{folder}: holds no saved run; start one with `python -m training fit CONFIG`")
    config = parse_config(state.config)
    network = build_network(config.model)
    network.load_state_dict(state.average)
    return config, network.eval(), state.step


def export_run(run: Path, folder: Path) -> str:
    """Write a run's averaged weights into `folder`; returns their row for a manifest, as YAML.

    A Demucs file is named `<8 digits of the configuration>-<8 digits of the file>.th` (SHA-256), an ONNX file
    after the run.
    """
    config, network, step = load_run(run)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(config.model, MdxNetSettings):
        assert isinstance(network, MdxNet)
        path = folder / f"{config.name}.onnx"
        export_onnx(network.network, path, config.model.dim_t)
        settings = config.model
        parameters = {key: getattr(settings, key) for key in ("n_fft", "dim_f", "dim_t", "hop")}
        row: dict[str, Any] = {
            "architecture": "mdx_net",
            "sources": list(settings.sources),
            "parameters": parameters,
        }
    else:
        assert isinstance(network, HTDemucs)
        path = export_demucs(network, {**as_document(config), "step": step}, folder)
        row = {"architecture": "htdemucs", "sources": list(config.model.sources)}
    content = path.read_bytes()
    row |= {"file": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return yaml.safe_dump({config.name: row}, sort_keys=False)


def export_demucs(network: HTDemucs, training_arguments: dict[str, Any], folder: Path) -> Path:
    """Write `{klass, args, kwargs, state (fp16), training_args}` and return where.

    training_arguments: plain values, kept in the file for the record; the name's first half is made of them.
    """
    arguments, keywords = network._init_args_kwargs
    package = {
        "klass": HTDemucs,
        "args": arguments,
        "kwargs": keywords,
        "state": {key: value.half() for key, value in network.state_dict().items()},
        "training_args": training_arguments,
    }
    buffer = io.BytesIO()
    torch.save(package, buffer)
    signature = hashlib.sha256(json.dumps(training_arguments, sort_keys=True).encode()).hexdigest()[:8]
    path = folder / f"{signature}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.th"
    path.write_bytes(buffer.getvalue())
    return path


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
