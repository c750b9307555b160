"""KUIELab's MDX-Nets A and B as presets, from files to stems, against their published pipeline on random weights: the
blend with Demucs v2 included, whose reference is its own code."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from torch import Tensor

from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.plan import needed_sources
from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.models.demucs_v2 import DemucsV2
from my_submission.runtime.devices import Precision
from my_submission.runtime.pool import ModelPool
from my_submission.weights.manifest import MANIFEST
from tests.lower_precision import CPU, agreement
from tests.old_demucs import old_demucs
from tests.random_checkpoints import save_mdx_net

pytestmark = pytest.mark.processor

STEMS = ("bass", "drums", "other", "vocals")
N_FFT = {"bass": 16_384, "drums": 4_096, "other": 8_192, "vocals": 6_144}
BINS, HOP, FRAMES = 2_048, 1_024, 32  # of which the real ones have up to 512
DEMUCS = {"a": "demucs_v2", "b": "demucs_v2_extra"}
SEGMENT = 15_000  # of which the real ones have 40 s
OF_MDX = torch.tensor([0.5, 0.5, 0.7, 0.9])[:, None, None]


def demucs(seed: int) -> DemucsV2:
    """A small network with weights that carry a signal through to the end."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = DemucsV2(("drums", "bass", "other", "vocals"), channels=4)
    for parameter in network.parameters():
        parameter.data *= 1.7
    return network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small networks and a mixer under the names of their rows, and these rows with so few frames."""
    folder = tmp_path_factory.mktemp("kuielab")
    rows = yaml.safe_load(MANIFEST.read_text())["checkpoints"]
    own = {name: row for name, row in rows.items() if name.startswith("kuielab")}
    own |= {name: rows[name] for name in DEMUCS.values()}
    for seed, (name, row) in enumerate(own.items()):
        row = {key: row[key] for key in ("architecture", "sources", "file", "parameters") if key in row}
        if row["architecture"] == "mixer":
            matrix = torch.randn(8, 10, generator=torch.Generator().manual_seed(seed))
            torch.save({"linear.weight": matrix}, folder / row["file"])
        elif row["architecture"] == "demucs_v2":
            row["parameters"] = {"segment_seconds": SEGMENT / 44_100}
            torch.save(demucs(seed).state_dict(), folder / row["file"])
        else:
            row["parameters"] |= {"dim_t": FRAMES}
            save_mdx_net(folder / row["file"], small=True, seed=seed, dim_f=BINS, dim_t=FRAMES)
        own[name] = row
    (folder / "manifest.yaml").write_text(yaml.safe_dump({"checkpoints": own}))
    return folder


def network(path: Path, n_fft: int, mixture: Tensor) -> Tensor:
    """One network's stem, (2, n), written from the description of the submission's `demix`."""
    session = onnxruntime.InferenceSession(str(path))
    window = torch.hann_window(n_fft)
    chunk, trim, samples = HOP * (FRAMES - 1), n_fft // 2, mixture.shape[-1]
    kept = chunk - n_fft
    pad = kept - samples % kept
    padded = torch.nn.functional.pad(mixture, (trim, pad + trim))
    parts = []
    for start in range(0, samples + pad, kept):
        spectrum = torch.stft(
            padded[:, start : start + chunk], n_fft, HOP, window=window, center=True, return_complex=True
        )
        planes = np.stack([part.numpy() for channel in spectrum for part in (channel.real, channel.imag)])
        (made,) = session.run(None, {"input": planes[None, :, :BINS]})
        full = torch.zeros(4, n_fft // 2 + 1, FRAMES)
        full[:, :BINS] = torch.from_numpy(made[0])
        wave = torch.istft(torch.complex(full[::2], full[1::2]), n_fft, HOP, window=window, center=True)
        parts.append(wave[:, trim:-trim])
    return torch.cat(parts, dim=-1)[:, :samples]


def networks(folder: Path, entry: str, mixture: Tensor) -> Tensor:
    """(4, 2, n)."""
    files = {stem: folder / f"kuielab_{entry}_{stem}.onnx" for stem in STEMS}
    return torch.stack([network(file, N_FFT[stem], mixture) for stem, file in files.items()])


def demucs_stems(folder: Path, entry: str, mixture: Tensor) -> Tensor:
    """(4, 2, n) in the submission's order, by the code of Demucs v2. A normalises all channels, B by their mean."""
    modules = old_demucs()
    theirs = modules.v2.Demucs(
        ["drums", "bass", "other", "vocals"], channels=4, segment_length=SEGMENT
    ).eval()
    file = yaml.safe_load((folder / "manifest.yaml").read_text())["checkpoints"][DEMUCS[entry]]["file"]
    theirs.load_state_dict(torch.load(folder / file, weights_only=True))
    level = mixture if entry == "a" else mixture.mean(dim=0)
    normalised = (mixture - level.mean()) / level.std()
    made: Tensor = modules.utils.apply_model_v2(theirs, normalised, split=True, overlap=0.5)
    return (made * level.std() + level.mean())[[1, 0, 2, 3]]


def separated(preset: str, folder: Path, mixture: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """What the kit makes of a preset as it ships, (4, 2, n)."""
    monkeypatch.setattr("my_submission.weights.manifest.MANIFEST", folder / "manifest.yaml")
    loaded = load_preset(preset)
    rows = checkpoint_rows(loaded)
    precision = Precision(CPU, torch.float32, auto=False)
    pool = ModelPool(rows, {row.name: folder / row.file for row in rows}, precision, needed_sources(loaded))
    stems = Ensemble(loaded, pool).separate(mixture)
    return torch.stack([stems[stem] for stem in STEMS])


@pytest.mark.slow
@pytest.mark.parametrize("samples", [20_000, 50_001])
def test_the_presets_are_the_published_pipelines(
    samples: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blended with Demucs v2 at an overlap of a half, of a track that has a level of its own. Above 110 dB: float32
    in another order."""
    mixture = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
    mixture += torch.tensor([[0.02], [-0.01]])
    matrix = torch.load(folder / "mixer.ckpt", weights_only=True)["linear.weight"].double()
    columns = torch.cat([networks(folder, "a", mixture), mixture[None]]).double().flatten(0, 1)
    mixed = (matrix @ columns).reshape(4, 2, samples)
    expected_a = OF_MDX * mixed + (1 - OF_MDX) * demucs_stems(folder, "a", mixture)
    assert agreement(expected_a, separated("kuielab-a", folder, mixture, monkeypatch)) > 110
    expected_b = OF_MDX * networks(folder, "b", mixture) + (1 - OF_MDX) * demucs_stems(folder, "b", mixture)
    assert agreement(expected_b, separated("kuielab-b", folder, mixture, monkeypatch)) > 110
