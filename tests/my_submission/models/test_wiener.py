"""The Wiener filter is its formulas: written out here, and as the package `openunmix` computes them."""

import sys
import types
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.preset import Preset, PresetError, checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.models import ChunkModel
from my_submission.models.wiener import WienerModel, WienerParameters, wiener
from my_submission.runtime.devices import Precision
from my_submission.runtime.pool import ModelPool
from my_submission.signal.chunking import Geometry
from my_submission.weights import require
from tests.lower_precision import CPU, agreement
from tests.thinned import one_in

pytestmark = pytest.mark.processor

Array = np.ndarray[Any, Any]
STEMS = ("bass", "drums", "other", "vocals")
PRESET = """\
stems: [bass, drums, other, vocals]
manifest: rows.yaml
steps:
  - name: networks
    input: mixture
    stems: [b, d, o, v]
    members:
      - model: net
        sources: {b: bass, d: drums, o: other, v: vocals}
  - name: stems
    input: mixture
    stems: [bass, drums, other, vocals]
    overlap: 0
    members:
      - wiener: {iterations: 2}
        estimates: {bass: b, drums: d, other: o, vocals: v}
"""
ROWS = "checkpoints: {net: {architecture: htdemucs, sources: [bass, drums, other, vocals], path: net.th}}\n"


class Filters:
    """A 'network' whose sources are the mixture through short filters of their own, and leak between channels."""

    geometry = Geometry(400_000, margin_samples=100, short_chunk="as_is")
    bytes_per_sample = 1
    sources = STEMS

    def __call__(self, chunks: Tensor) -> Tensor:
        kernels = torch.randn(4, 2, 2, 65, generator=torch.Generator().manual_seed(0)) / 8
        return torch.stack([torch.nn.functional.conv1d(chunks, kernel, padding=32) for kernel in kernels], 1)


def noise(samples: int, level: float = 0.1) -> Tensor:
    """Louder in one channel, and in some seconds."""
    track = level * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
    return track * torch.tensor([[1.0], [0.4]]) * (1.2 + torch.sin(torch.arange(samples) / 20_000))


def estimates_of(mixture: Tensor) -> Tensor:
    return Filters()(mixture[None])[0]


def run(mixture: Tensor, **settings: Any) -> Tensor:
    model = WienerModel(STEMS, WienerParameters(**settings), CPU)
    return model(torch.cat([mixture[None], estimates_of(mixture)]).flatten(0, 1)[None])[0]


BLOCK = 40
"""Frames of a block in these tests, of which the real ones have 300."""


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("my_submission.models.wiener.BLOCK_FRAMES", BLOCK)


@pytest.fixture
def preset(tmp_path: Path) -> Preset:
    return written(tmp_path, PRESET)


def written(folder: Path, text: str) -> Preset:
    (folder / "rows.yaml").write_text(ROWS)
    path = folder / "mine.yaml"
    path.write_text(text)
    return load_preset(path)


@pytest.fixture(scope="module")
def package() -> Any:
    """`openunmix.filtering`; the package imports torchaudio, and needs none of it here."""
    with pytest.MonkeyPatch.context() as patch:
        if "torchaudio" not in sys.modules:
            patch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
        yield pytest.importorskip("openunmix.filtering", reason="the reference package openunmix is not here")


def of_the_package(package: Any, mixture: Tensor, iterations: int, softmask: bool) -> Tensor:
    """Its filter on magnitudes of waveforms, in blocks of frames, as its `Separator` calls it."""
    window = torch.hann_window(4096)

    def spectrum(signal: Tensor) -> Tensor:
        return torch.stft(signal, 4096, 1024, window=window, center=True, return_complex=True)

    mixed = torch.view_as_real(spectrum(mixture)).permute(2, 1, 0, 3)  # (frames, bins, channels, 2)
    magnitudes = torch.stack([spectrum(one).abs() for one in estimates_of(mixture)], -1).permute(2, 1, 0, 3)
    made = [
        package.wiener(
            magnitudes[at : at + BLOCK], mixed[at : at + BLOCK].clone(), iterations, softmask=softmask
        )
        for at in range(0, len(mixed), BLOCK)
    ]
    whole = torch.cat(made).permute(4, 2, 1, 0, 3).contiguous()  # (sources, channels, bins, frames, 2)
    waves = torch.istft(
        torch.view_as_complex(whole).flatten(0, 1), 4096, 1024, window=window, length=mixture.shape[-1]
    )
    return waves.reshape(4, 2, -1)


@pytest.mark.parametrize("iterations", one_in(3, [2, 0, 1]))
@pytest.mark.parametrize("softmask", one_in(2, [True, False]))
@pytest.mark.parametrize("level", one_in(2, [0.3, 0.003]))
def test_the_filter_is_that_of_the_package(
    iterations: int, softmask: bool, level: float, package: Any
) -> None:
    """On 54 frames, so of two blocks, to 1e-5 of the largest sample."""
    mixture = noise(54_321, level)
    expected = of_the_package(package, mixture, iterations, softmask)
    made = run(mixture, iterations=iterations, softmask=softmask)
    assert (made - expected).abs().max() <= 1e-5 * expected.abs().max()


def written_out(magnitudes: Array, mixture: Array, iterations: int) -> Array:
    """The filter bin by bin and frame by frame, in double precision; (sources, channels, bins, frames)."""
    phases = np.where(mixture == 0, 1, np.exp(1j * np.angle(mixture)))
    scale = max(1.0, np.abs(mixture).max() / 10)
    made, mixture = magnitudes * phases / scale, mixture / scale
    sources, _, bins, frames = made.shape
    for _ in range(iterations):
        powers = (np.abs(made) ** 2).mean(axis=1)
        after = np.zeros_like(made)
        for at in range(bins):
            spread = [
                sum(np.outer(made[j, :, at, t], made[j, :, at, t].conj()) for t in range(frames))
                / (1e-10 + powers[j, at].sum())
                for j in range(sources)
            ]
            for t in range(frames):
                total = 1e-5 * np.eye(2) + sum(powers[j, at, t] * spread[j] for j in range(sources))
                for j in range(sources):
                    gain = powers[j, at, t] * spread[j] @ np.linalg.inv(total)
                    after[j, :, at, t] = gain @ mixture[:, at, t]
        made = after
    whole: Array = made * scale
    return whole


@pytest.mark.parametrize("iterations", [0, 1, 2])
@pytest.mark.parametrize("level", [1.0, 100.0])
def test_the_filter_is_its_formulas(iterations: int, level: float) -> None:
    """Above 90 dB in single precision; with bins of silence, and beyond the level at which all is scaled down."""
    random = torch.Generator().manual_seed(0)
    mixture = level * torch.randn(2, 5, 7, generator=random, dtype=torch.complex64)
    mixture[:, 2, 3] = 0
    magnitudes = level * torch.rand(3, 2, 5, 7, generator=random)
    made = wiener(magnitudes, mixture, iterations, softmask=False)
    expected = torch.from_numpy(
        written_out(magnitudes.double().numpy(), mixture.to(torch.complex128).numpy(), iterations)
    )
    assert agreement(torch.view_as_real(expected), torch.view_as_real(made)) > 90


@pytest.mark.parametrize("samples", [3_000, 30_000])
def test_in_a_preset_it_is_the_filter_of_the_steps_before(samples: int, preset: Preset) -> None:
    mixture = noise(samples)
    assert agreement(run(mixture, iterations=2), separated(preset, mixture)) > 100


def separated(preset: Preset, mixture: Tensor) -> Tensor:
    """With a stub of the network, and the filter as the kit loads it: without any file."""
    filters = [row for row in checkpoint_rows(preset) if not row.has_file]
    assert require(filters) == {}
    pool = ModelPool(filters, {}, Precision(CPU, torch.float32))

    class Pool:
        def get(self, name: str) -> ChunkModel:
            return Filters() if name == "net" else pool.get(name)

    stems = Ensemble(preset, cast(ModelPool, Pool())).separate(mixture)
    return torch.stack([stems[stem] for stem in STEMS])


@pytest.mark.slow
def test_chunks_of_a_long_track_are_nearly_its_whole(preset: Preset) -> None:
    """A block beside a chunk begins where the transform mirrors, which two of its frames feel: with 300 frames, the
    agreement was 94 dB on 45 s."""
    mixture = noise(BLOCK * 1024 * 7)
    whole = run(mixture, iterations=2)
    assert agreement(whole, separated(preset, mixture)) > 60


@pytest.mark.thorough
def test_silence_has_silent_estimates(preset: Preset) -> None:
    made = separated(preset, torch.zeros(2, 10_000))
    assert not made.any()
    half = noise(400_000)
    half[:, 100_000:] = 0
    assert separated(preset, half).isfinite().all()


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("{iterations: 2}", "{iterations: -1}", r"wiener\.iterations: expected a whole number from 0 to 16"),
        (
            "{iterations: 2}",
            "{passes: 2}",
            r"members\[0\]\.wiener: unknown key 'passes'; allowed: iterations",
        ),
        ("- wiener: {iterations: 2}", "- overlap: 0", r"members\[0\]: the key 'model' is missing"),
        (
            "wiener: {iterations: 2}",
            "wiener: {}\n        model: net",
            r"wiener: 'wiener' is a member of its own",
        ),
        (", drums: d, other: o, vocals: v}", "}", r"estimates: a filter divides the mixture among two"),
        ("vocals: v}\n", "vocals: w}\n", r"estimates\.vocals: found 'w', which no earlier step makes"),
    ],
)
def test_what_is_wrong_about_a_filter_is_named(
    tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    text = PRESET[: PRESET.index("  - name: stems")] + PRESET[PRESET.index("  - name: stems") :].replace(
        before, after
    )
    assert text != PRESET
    with pytest.raises(PresetError, match=complaint):
        written(tmp_path, text)
