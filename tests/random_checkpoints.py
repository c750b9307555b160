"""Checkpoint files with random weights, in the formats and architectures of the released ones.

    save_demucs("htdemucs_6s", folder / "x.th", small=True, seed=0)         # or "x.safetensors"
    save_mdx_net(folder / "x.onnx", small=True, seed=0)                     # any dim_f, dim_t
    save_checkpoint(load_manifest().checkpoints["Kim_Inst"], folder, small=True, seed=0)
    full_size_checkpoint(load_manifest().checkpoints["Kim_Inst"])           # made once a machine, then reused

`small=False` gives the released networks' sizes (84, 55, 167 and 67 MB, and 1,063 of Demucs v1 and v2). `small=True`
keeps the structure (same layers, attention, LSTM, sources, bins of MDX-Net) with few channels and one level or layer
less where they repeat: milliseconds a chunk on one core, and chunks of SMALL_SEGMENT or SMALL_FRAMES, so that a
second of audio is several of them. Both kinds have the file names and sources of their manifest rows, so a folder of
them can be a `weights_dir` of any preset. The row of any other architecture says everything about its network, so its
checkpoint has the row's size: give it a small row for a small one. `write_small_kit` makes one of any presets', and
the manifest with its small rows.
"""

import functools
import json
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file
from torch import Tensor

from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.models.demucs_file import ARCHITECTURES
from my_submission.models.demucs_v2 import DemucsV1, DemucsV2
from my_submission.models.mdx_net import MdxNetParameters
from my_submission.models.tfc_tdf import TfcTdfConfig, TfcTdfNet, export_onnx
from my_submission.weights import Checkpoint, load_manifest
from my_submission.weights.manifest import MANIFEST, read_manifests
from tests.old_demucs import save_v1
from tests.random_spleeter import save_spleeter
from tests.reference_networks import reference
from tests.small_networks import save_network, smaller

SMALL_SEGMENT = Fraction(3, 10)
"""Seconds that a small HTDemucs reads at a time."""
SMALL_FRAMES = 32
"""Frames that a small MDX-Net reads at a time in `write_small_kit`."""

MUSIC = ["drums", "bass", "other", "vocals"]
SOURCES = {
    "htdemucs_6s": [*MUSIC, "guitar", "piano"],
    **{name: ["music", "sfx", "speech"] for name in ("dnr_a778de4a", "dnr_dbb4db15", "dnr_e41a5468")},
    **{f"UVR_Demucs_Model_{number}": ["vocals", "non_vocals"] for number in (1, 2)},
}
_ROWS = load_manifest().checkpoints
_OF_THE_WAVEFORM: dict[str, type[torch.nn.Module]] = {
    "demucs_v1": DemucsV1, "demucs_v2": DemucsV2, "demucs_v3": Demucs,
}  # fmt: skip

# For a manifest of hundreds of rows: libyaml takes a tenth of the time.
_QUICKEST: Any = (
    (yaml.CSafeLoader, yaml.CSafeDumper) if yaml.__with_libyaml__ else (yaml.SafeLoader, yaml.SafeDumper)
)

_HTDEMUCS: dict[str, Any] = {
    "audio_channels": 2, "samplerate": 44100, "segment": Fraction(39, 5), "channels": 48, "growth": 2,
    "nfft": 4096, "cac": True, "depth": 4, "multi_freqs": [], "multi_freqs_depth": 3, "dconv_mode": 3,
    "dconv_comp": 8, "t_layers": 5, "t_hidden_scale": 4.0, "t_heads": 8, "t_dropout": 0.02,
    "t_cape_glob_loc_scale": [5000.0, 1.0, 1.4], "t_sparse_attn_window": 400,
}  # fmt: skip
# `rescale` is of the weights at their birth alone; without it a network is built in half the time.
_SMALL_HTDEMUCS: dict[str, Any] = {
    "channels": 8, "segment": SMALL_SEGMENT, "nfft": 2048, "depth": 3, "t_layers": 2, "t_heads": 2,
    "t_hidden_scale": 2.0, "rescale": 0,
}  # fmt: skip
# The size of a released file tells what varies: only the four-source music models widen the transformer.
_BOTTOM_512 = ("htdemucs", "htdemucs_ft_drums", "htdemucs_ft_bass", "htdemucs_ft_other", "htdemucs_ft_vocals")
_HDEMUCS: dict[str, Any] = {
    "audio_channels": 2, "samplerate": 44100, "segment": 44, "channels": 48, "growth": 2, "nfft": 4096,
    "cac": True, "depth": 6, "hybrid": True, "multi_freqs": [], "multi_freqs_depth": 3, "dconv_mode": 1,
    "dconv_comp": 4, "dconv_attn": 4, "dconv_lstm": 4, "dconv_init": 0.001,
}  # fmt: skip


def demucs_arguments(name: str, *, small: bool) -> tuple[type[torch.nn.Module], dict[str, Any]]:
    """(class, constructor arguments) of the checkpoint of this manifest name; an unknown name is like htdemucs."""
    sources = SOURCES.get(name, MUSIC)
    architecture = _ROWS[name].architecture if name in _ROWS else "htdemucs"
    if architecture in _OF_THE_WAVEFORM:
        return _OF_THE_WAVEFORM[architecture], {"sources": sources, **({"channels": 4} if small else {})}
    if architecture == "hdemucs":
        shrunk = {"channels": 4, "segment": SMALL_SEGMENT, "rescale": 0} if small else {}
        return HDemucs, {"sources": sources, **_HDEMUCS, **shrunk}
    wide: dict[str, Any] = {"bottom_channels": 512} if name in _BOTTOM_512 else {}
    if name.startswith("dnr_"):
        wide = {"dconv_mode": 1}  # no DConv branches in the decoder
    shrunk = dict(_SMALL_HTDEMUCS) if small else {}
    if small and name in _BOTTOM_512:
        wide = {"bottom_channels": 32}
    return HTDemucs, {"sources": sources, **_HTDEMUCS, **wide, **shrunk}


def save_demucs(name: str, path: Path, *, small: bool, seed: int) -> Path:
    """Write the Demucs checkpoint of this manifest name with random fp16 weights, as `.th` or `.safetensors`.

    The first two versions have float32, and each its own form of file.
    """
    network, kwargs = demucs_arguments(name, small=small)
    if network is DemucsV1:
        kwargs["sources"] = len(kwargs["sources"])
    made = random_state(name, seed) if small else _random_state(network, kwargs, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    if network is DemucsV1:
        return save_v1(path, kwargs, made)
    if network is DemucsV2:
        torch.save(made, path)
        return path
    state = {key: value.half() for key, value in made.items()}
    if path.suffix == ".safetensors":
        save_file(state, path, metadata=safetensors_metadata(network, kwargs))
    else:
        torch.save(demucs_package(network, kwargs, state), path)
    return path


@functools.cache
def random_state(name: str, seed: int) -> dict[str, Tensor]:
    """The tensors of the small network of this manifest name, made once a process: leave them as they are."""
    network, kwargs = demucs_arguments(name, small=True)
    if network is DemucsV1:
        kwargs["sources"] = len(kwargs["sources"])
    return _random_state(network, kwargs, seed)


def _random_state(network: type[torch.nn.Module], kwargs: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made: dict[str, Tensor] = network(**kwargs).state_dict()
    return made


def demucs_package(
    network: type[torch.nn.Module], kwargs: Mapping[str, Any], state: Mapping[str, Tensor]
) -> dict[str, Any]:
    """What demucs' trainer puts into a `.th` file, numpy numbers among the metrics included."""
    return {
        "klass": network,
        "args": (),
        "kwargs": dict(kwargs),
        "state": dict(state),
        "training_args": {"seed": 42, "dset": {"segment": 11}, "lr": 3e-4},
        "metrics": {"nsdr": np.float64(7.5), "best": np.float32(0.25)},
    }


def safetensors_metadata(network: type[torch.nn.Module], kwargs: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of demucs 4.1's export: class by name, arguments as JSON, fractions encoded."""

    def encode(value: object) -> dict[str, object]:
        assert isinstance(value, Fraction)
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}

    return {
        "klass": f"{network.__module__}.{network.__qualname__}",
        "args": json.dumps([]),
        "kwargs": json.dumps(dict(kwargs), default=encode),
    }


def save_mdx_net(path: Path, *, small: bool, seed: int, dim_f: int = 3072, dim_t: int = 256) -> Path:
    """Write an MDX-Net as ONNX with random weights, batch statistics included."""
    config = (
        TfcTdfConfig(dim_f, blocks=3, convolutions=1, growth=2, bottleneck=64)
        if small
        else TfcTdfConfig(dim_f)
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = TfcTdfNet(config)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
    export_onnx(network, path, dim_t)
    return path


def save_checkpoint(checkpoint: Checkpoint, folder: Path, *, small: bool, seed: int) -> Path:
    """Write a random checkpoint under the file name of its manifest row."""
    path = folder / checkpoint.file
    if checkpoint.architecture == "mdx_net":
        parameters = checkpoint.parameters
        assert isinstance(parameters, MdxNetParameters)
        return save_mdx_net(path, small=small, seed=seed, dim_f=parameters.dim_f, dim_t=parameters.dim_t)
    if checkpoint.architecture in ARCHITECTURES:
        return save_demucs(checkpoint.name, path, small=small, seed=seed)
    if checkpoint.architecture == "spleeter":
        return save_spleeter(checkpoint, path, seed=seed)
    if checkpoint.architecture in ("bs_roformer", "mel_band_roformer") and not small:
        return save_reference(checkpoint, path, seed=seed)
    return save_network(checkpoint, path)


def save_reference(checkpoint: Checkpoint, path: Path, *, seed: int) -> Path:
    """Write a reference network's random weights, in fp16 if the published file's size says that it has that."""
    state = reference(checkpoint, seed).module.state_dict()
    values = sum(value.numel() for value in state.values())
    half = checkpoint.about_bytes is not None and checkpoint.about_bytes < 3 * values
    state = {key: value.half() if half else value.clone() for key, value in state.items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def write_small_kit(folder: Path, presets: Iterable[str]) -> Path:
    """A folder with every checkpoint of some presets, small.

    `manifest.yaml` in it is the project's, in which MDX-Nets have few frames, HDemucs chunks of two seconds, later
    networks the sizes of `small_networks`, and nothing a size or hashes.
    """
    manifest = yaml.load(MANIFEST.read_text(encoding="utf-8"), _QUICKEST[0])
    for row in manifest["checkpoints"].values():
        for key in ("bytes", "sha256", "tail_md5"):
            row.pop(key, None)
        row["parameters"] = smaller(row["architecture"], row.get("parameters", {}))
        if row["architecture"] == "spleeter":
            row["forms"] = {name: {"bins": 128} for name in row.get("forms", {})}
        if row["architecture"] == "mdx_net":
            row["parameters"]["dim_t"] = SMALL_FRAMES
        if "segment_seconds" in row["parameters"]:
            row["parameters"]["segment_seconds"] = 2.0
    path = folder / "manifest.yaml"
    text = yaml.dump(json.loads(json.dumps(manifest)), Dumper=_QUICKEST[1])
    path.write_text(text, encoding="utf-8")
    rows = read_manifests(path).checkpoints
    wanted = (row for preset in presets for row in checkpoint_rows(load_preset(preset)) if row.has_file)
    names = sorted({row.name for row in wanted if row.manifest == MANIFEST})
    for seed, name in enumerate(names):
        save_checkpoint(rows[name], folder, small=True, seed=seed)
    return path.parent


def full_size_checkpoint(checkpoint: Checkpoint, suffix: str | None = None) -> Path:
    """A full-size random checkpoint in a folder that outlives the test run: one takes up to a minute to make.

    suffix: of another copy than the row's own, ".safetensors". Different names get different weights.
    """
    folder = Path(tempfile.gettempdir()) / "sdx23-full-size-checkpoints-1"
    path = folder / checkpoint.file
    if suffix:
        path = path.with_suffix(suffix)
    if not path.exists():
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as draft:
            made = replace(checkpoint, file=path.name)
            seed = zlib.crc32(checkpoint.name.encode())
            save_checkpoint(made, Path(draft), small=False, seed=seed).rename(path)
    return path
