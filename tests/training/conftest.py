"""A tiny data set in the two true layouts, and tiny configurations of every kind of network."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

SAMPLES = 20_000
LAYOUTS = {
    "music": (("train", "valid"), ("bass", "drums", "other", "vocals"), 2),
    "cinematic": (("tr", "cv"), ("speech", "music", "sfx"), 1),
}
ROFORMER: dict[str, Any] = {
    "dim": 8,
    "depth": 1,
    "time_transformer_depth": 1,
    "freq_transformer_depth": 1,
    "heads": 2,
    "dim_head": 4,
    "mask_estimator_depth": 2,
    "mlp_expansion_factor": 1,
    "skip_connection": False,
    "n_fft": 512,
    "hop": 128,
    "zero_dc": True,
    "chunk_samples": 4096,
    "fade_samples": 409,
}
MODELS: dict[str, dict[str, Any]] = {
    "htdemucs": {
        "architecture": "htdemucs",
        "sources": ["drums", "bass", "other", "vocals"],
        "segment_seconds": 0.25,
        "arguments": {"channels": 4, "depth": 3, "nfft": 512, "t_layers": 1, "t_heads": 2, "dconv_mode": 0},
    },
    "mdx_net": {
        "architecture": "mdx_net",
        "target": "vocals",
        "n_fft": 512,
        "dim_f": 128,
        "dim_t": 32,
        "hop": 256,
        "blocks": 3,
        "convolutions": 1,
        "growth": 4,
        "bottleneck": 4,
    },
    "scnet": {
        "architecture": "scnet",
        "sources": ["drums", "bass", "other", "vocals"],
        "segment_seconds": 0.1,
        "n_fft": 512,
        "hop": 256,
        "dims": [4, 4, 8],
        "band_shares": [0.225, 0.372, 0.403],
        "band_strides": [1, 4, 16],
        "band_kernels": [3, 4, 16],
        "conv_depths": [1, 1, 1],
        "compress": 4,
        "conv_kernel": 3,
        "num_dplayer": 2,
        "expand": 1,
        "masked": False,
        "normalise": True,
    },
    "bs_roformer": {
        "architecture": "bs_roformer",
        "sources": ["drums", "bass", "other", "vocals"],
        **ROFORMER,
        "band_widths": [1, 16, 48, 64, 128],
        "pope": True,
    },
    "mel_band_roformer": {
        "architecture": "mel_band_roformer",
        "sources": ["vocals"],
        **ROFORMER,
        "bands": 12,
    },
}


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`music/{train,valid}` and `cinematic/{tr,cv}`, two tracks each; cinematic files are mono."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for layout, (splits, stems, channels) in LAYOUTS.items():
        for folder in [root / layout / split / name for split in splits for name in ("001", "002")]:
            folder.mkdir(parents=True)
            for stem in stems:
                noise = 0.1 * random.standard_normal((SAMPLES, channels))
                soundfile.write(folder / f"{stem}.wav", noise, 44_100, subtype="PCM_16")
    return root


@pytest.fixture
def documents(data_root: Path) -> dict[str, dict[str, Any]]:
    """A whole configuration of each architecture, as its YAML would parse."""
    music = {
        "root": str(data_root / "music"),
        "train": "train",
        "valid": "valid",
        "stems": {stem: stem for stem in ("drums", "bass", "other", "vocals")},
    }
    cinematic = {
        "root": str(data_root / "cinematic"),
        "train": "tr",
        "valid": "cv",
        "stems": {"vocals": "speech", "music": "music", "effect": "sfx"},
    }
    data = {"mdx_net": [music, cinematic]}
    return {
        name: {
            "name": f"tiny-{name}",
            "seed": 3,
            "model": copy.deepcopy(model),  # for the test to change
            "data": data.get(name, [music]),
            "augmentation": {"speed": 0.05},
            "optimisation": {"steps": 6, "batch": 2, "learning_rate": 0.01, "warmup_steps": 2},
            "validation": {"every": 3, "tracks": 1, "seconds": 0.4},
            "checkpoint_every": 2,
        }
        for name, model in MODELS.items()
    }
