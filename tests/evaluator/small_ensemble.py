"""An ensemble of small random checkpoints with everything a published one has, and tracks to run it on.

Two steps (MDX-Net and Demucs, `input - …`, polarity, a random shift, residual; then unequal shares of it, a sum
of sources).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml

from evaluator.challenge import MUSIC
from my_submission.weights import load_manifest
from my_submission.weights.store import sha256_of
from tests.evaluator.audio import noise, write_track
from tests.random_checkpoints import save_demucs, save_mdx_net

PRESET = """\
# A preset for tests.
track: music
manifest: manifest.yaml
steps:
  - name: vocals
    input: mixture
    stems: [vocals]
    residual: instrumental
    members:
      - model: small_htdemucs  # the first member
        polarity: both
        shifts: 1
        weight: 3
      - model: small_inst
        sources: {vocals: input - instrumental}
        weight: 2

  # the others
  - name: instruments
    input: instrumental
    stems: [bass, drums, other]
    residual_shares: {bass: 1/3, drums: 1/4, other: 2/3}
    members:
      - model: small_htdemucs
        weights: {bass: 4, drums: 2, other: 1}
      - model: small_htdemucs_6s
        sources: {other: other + guitar}
        weights: {bass: 1, drums: 2, other: 3}
"""
FRAMES = {"one": 15_000, "two": 9_501, "three": 11_000}  # more than a chunk of the networks, and less


def write_ensemble(folder: Path) -> Path:
    """Write checkpoints, manifest and preset into a folder; the preset's path."""
    spectrogram = {"n_fft": 2048, "dim_f": 512, "dim_t": 64, "hop": 512}
    save_mdx_net(folder / "small_inst.onnx", small=True, seed=0, dim_f=512, dim_t=64)
    rows: dict[str, dict[str, object]] = {
        "small_inst": {
            "architecture": "mdx_net",
            "sources": ["instrumental"],
            "parameters": spectrogram,
            "file": "small_inst.onnx",
        }
    }
    for seed, name in enumerate(("htdemucs", "htdemucs_6s"), start=1):
        file = f"small_{name}.th"
        save_demucs(name, folder / file, small=True, seed=seed)
        sources = list(load_manifest().checkpoints[name].sources)
        rows[f"small_{name}"] = {"architecture": "htdemucs", "sources": sources, "file": file}
    for row in rows.values():
        row["sha256"] = sha256_of(folder / str(row["file"]))
    return write_preset(folder, rows)


def write_preset(folder: Path, rows: Mapping[str, object]) -> Path:
    """Write the preset and a manifest with these rows into a folder; the preset's path."""
    folder.mkdir(exist_ok=True)
    (folder / "manifest.yaml").write_text(yaml.safe_dump({"checkpoints": rows}))
    preset = folder / "small.yaml"
    preset.write_text(PRESET)
    return preset


def write_tracks(root: Path) -> Path:
    """Stereo music tracks; references overlap in time and differ in level."""
    for seed, (name, frames) in enumerate(FRAMES.items()):
        time_s = np.arange(frames)[:, None] / 44_100
        stems = {
            stem: noise(frames, seed=10 * seed + i, level=0.02 * (i + 1)) * (1 + np.sin(20 * time_s + i))
            for i, stem in enumerate(MUSIC.stems)
        }
        stems = {stem: np.round(signal * 32768) / 32768 for stem, signal in stems.items()}
        write_track(root / name, {**stems, "mixture": sum(stems.values(), np.zeros((frames, 2)))})
    return root
