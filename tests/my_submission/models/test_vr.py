"""What is done around a VR network: windows, options, chunks, files that are not what their rows say.

The whole of it was compared once with python-audio-separator 0.47.1 (librosa 0.11.0, samplerate 0.2.4), on 5 to 12 s
of noise with random weights of true sizes: nine band files, both versions, 5, 6 and 7 branches, four and five levels,
windows of 320 and 512, every option. Spectra agreed to 117 to 138 dB, estimates to 107 to 109 dB, and to 136
and better where there is one band. With polyphase filters in the back end, as on Apple's processors, to 61 dB.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from my_submission.models.vr import VrParameters, _geometry
from my_submission.models.vr.bands import LAYOUTS
from my_submission.models.vr.network import Size
from my_submission.models.vr.separation import Separation, Treatment, first_alone
from my_submission.models.vr.spectrum import Spectrum
from my_submission.models.waveforms import WaveformModel
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import load_model
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader
from my_submission.weights import Checkpoint, WeightsError, load_manifest
from tests.lower_precision import CPU, agreement
from tests.vr_networks import CONTEXT, WINDOW, music, random, theirs_of, theirs_of_5_1

pytestmark = pytest.mark.processor

PLAIN: dict[str, Any] = {
    "bands": "3band_44100_msb2",
    "window_frames": WINDOW,
    "aggressiveness": 5,
    "accompaniment": True,
    "tta": False,
    "post_process": None,
}
SMALL_5_1: dict[str, Any] = {"bands": "4band_v3", "window_frames": 272}


def row(path: Path, **changes: Any) -> Checkpoint:
    hp2 = load_manifest().checkpoints["7_HP2-UVR"]
    parameters = VrParameters.model_validate({**PLAIN, **changes})
    return replace(hp2, parameters=parameters, bytes=None, sha256=None, tail_md5=None, file=path.name)


def opened(
    folder: Path, network: nn.Module, needed: Sequence[str] | None = None, **changes: Any
) -> WaveformModel:
    path = folder / "network.pth"
    torch.save(network.state_dict(), path)
    model = load_model(row(path, **changes), path, CPU, torch.float32, needed)
    assert isinstance(model, WaveformModel)
    return model


def small(seed: int = 0) -> nn.Module:
    return random(theirs_of(31191, 640, width=2), seed)


def deep() -> nn.Module:
    return random(theirs_of(129605, 640, width=2), seed=0)


def newer() -> nn.Module:
    return random(theirs_of_5_1(672, 4, 4), seed=0)


def estimates(model: WaveformModel, track: Tensor) -> Tensor:
    pieces = estimate_track(model, reader(track), track.shape[-1], Augmentation(), 0.0)
    return torch.cat([piece for _, piece in pieces], dim=-1)


class Straight(nn.Module):
    """In place of a network: its mask is what it sees; or its place in the window, from 0 to 1."""

    def __init__(self, places: bool = False) -> None:
        super().__init__()
        self._places = places

    def forward(self, seen: Tensor) -> Tensor:
        return torch.linspace(0, 1, seen.shape[-1]).expand_as(seen) if self._places else seen


V5, V51 = Size("5", 2), Size("5.1", 4)


def separation(network: nn.Module, size: Size = V5, **changes: Any) -> Separation:
    plain = Treatment(WINDOW, power=(1.0, 1.0), tta=False, post_process=None)
    return Separation(network, size, Spectrum(LAYOUTS["4band_v2"], "5"), replace(plain, **changes))


@pytest.mark.parametrize("frames", [1, 15, 16, 17, 100])
@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize("size", [V5, V51])
def test_windows_put_every_frame_where_it_was(frames: int, tta: bool, size: Size) -> None:
    """Of any number; the network sees magnitudes over the largest."""
    magnitudes = torch.rand(2, 673, frames, generator=torch.Generator().manual_seed(frames))
    mask = separation(Straight(), size, tta=tta).mask(magnitudes)
    torch.testing.assert_close(mask, magnitudes / magnitudes.max())


def test_tta_is_the_mean_with_windows_half_a_step_later() -> None:
    step = WINDOW - 2 * CONTEXT
    magnitudes = torch.ones(2, 673, 3 * step)
    plain, both = (separation(Straight(places=True), tta=tta).mask(magnitudes)[0, 0] for tta in (False, True))
    places = torch.linspace(0, 1, WINDOW)[CONTEXT:-CONTEXT]
    torch.testing.assert_close(plain, places.repeat(3))
    torch.testing.assert_close(both, (places.repeat(3) + places.roll(step // 2).repeat(3)) / 2)


@pytest.mark.parametrize(
    ("aggressiveness", "accompaniment", "power"),
    [
        (5, True, (1 + 0.1 / 3, 1.1)),
        (5, False, (1 + 0.9 / 3, 1.9)),
        (-50, True, (1 - 1 / 3, 0)),
        (0, False, (1, 1)),
    ],
)
def test_aggressiveness_is_a_power_of_the_mask(
    aggressiveness: int, accompaniment: bool, power: tuple[float, float]
) -> None:
    """By python-audio-separator's `adjust_aggr`."""
    said = {**PLAIN, "aggressiveness": aggressiveness, "accompaniment": accompaniment}
    assert VrParameters.model_validate(said).power == pytest.approx(power)
    magnitudes = torch.full((2, 673, 1), 0.5)
    magnitudes[0, 0] = 1
    mask = separation(Straight(), power=power).mask(magnitudes)
    assert mask[1, 84, 0].item() == pytest.approx(0.5 ** power[0])
    assert mask[1, 85, 0].item() == pytest.approx(0.5 ** power[1])


def weights_of(frames: int, *ranges: tuple[int, int]) -> Tensor:
    above = torch.zeros(frames, dtype=torch.bool)
    for start, end in ranges:
        above[start:end] = True
    return first_alone(above)


def test_post_processing_gives_the_first_source_all_of_long_ranges() -> None:
    """By python-audio-separator's `merge_artifacts`, whose results these are."""
    rising = torch.linspace(0, 1, 32)
    assert not weights_of(200).any()
    assert not weights_of(200, (10, 75)).any(), "65 frames: the last is 64 after the first"
    weights = weights_of(200, (10, 110))
    assert torch.equal(weights[10:42], rising)
    assert (weights[42:77] == 1).all()
    assert torch.equal(weights[77:109], rising.flip(0))
    assert not weights[:10].any()
    assert not weights[109:].any()
    assert (weights_of(200, (0, 100))[:67] == 1).all(), "from the beginning there is no fade"
    near = weights_of(300, (10, 110), (120, 220))  # it begins 64 frames before 109
    assert torch.equal(near[45:77], rising)
    assert (near[77:187] == 1).all()
    assert torch.equal(near[187:219], rising.flip(0))


def test_post_processing_changes_the_mask_only_there() -> None:
    magnitudes = torch.full((2, 673, 150), 0.5)
    magnitudes[0, 0, 0], magnitudes[1, 600, 100:] = 1, 0.1
    plain = separation(Straight()).mask(magnitudes)
    mask = separation(Straight(), post_process=0.2).mask(magnitudes)
    weights = weights_of(150, (0, 100))
    torch.testing.assert_close(mask, plain + weights * (1 - plain))
    assert torch.equal(mask[..., 100:], plain[..., 100:])


@pytest.mark.thorough
@pytest.mark.parametrize(
    "samples", [1, *(pytest.param(each, marks=pytest.mark.slow) for each in (432, 433, 10_000))]
)
def test_tracks_of_any_length_have_estimates_that_add_up(samples: int, tmp_path: Path) -> None:
    """To what the bands hold of the mixture. A track of one source has the same estimate."""
    track = music(10_000)[:, :samples]
    model = opened(tmp_path, small())
    made = estimates(model, track)
    assert made.shape == (2, 2, samples)
    spectrum = Spectrum(LAYOUTS["3band_44100_msb2"], "5")
    held = spectrum.inverse(spectrum.forward(track))[:, :samples]
    assert agreement(held, made.sum(dim=0)) > 90
    (vocals,) = estimates(opened(tmp_path, small(), needed=["vocals"]), track)
    assert torch.equal(vocals, made[model.sources.index("vocals")])


@pytest.mark.thorough
def test_silence_stays_silent(tmp_path: Path) -> None:
    model = opened(tmp_path, small())
    assert not model(torch.zeros(1, 2, 5_000)).any()
    assert not model(torch.full((1, 2, 5_000), 1e-45)).isnan().any()


@pytest.mark.thorough
def test_batches_change_nothing(tmp_path: Path) -> None:
    """Each mixture has its own level."""
    model = opened(tmp_path, small())
    pair = torch.stack([music(8_000, 1), 0.1 * music(8_000, 2)])
    assert torch.equal(model(pair), torch.cat([model(pair[:1]), model(pair[1:])]))


class Remote(nn.Module):
    """In place of a network: its mask is what it sees at the far ends of its context, by the place in the window."""

    def forward(self, seen: Tensor) -> Tensor:
        both = seen.roll(CONTEXT, dims=-1) + seen.roll(-CONTEXT, dims=-1)
        return both * torch.linspace(0.5, 1, seen.shape[-1])


@pytest.mark.thorough
@pytest.mark.parametrize("changes", [{}, {"tta": True}, {"post_process": 0.2}])
def test_a_long_track_in_chunks_is_the_whole(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the level is the same: here since the track repeats itself. Windows lie as in the whole track."""
    parameters = VrParameters.model_validate({**PLAIN, "bands": "4band_v2", **changes})
    step = (WINDOW - 2 * CONTEXT) * parameters.layout.hop

    def run(track: Tensor) -> Tensor:
        model = WaveformModel(
            separation(Remote(), **changes), ("a", "b"), _geometry(parameters, V5), 1, CPU, torch.float32
        )
        assert model.geometry.margin_samples % step == 0
        return estimates(model, track)

    track = music(step * 12).repeat(1, 3)
    whole = run(track)
    monkeypatch.setattr("my_submission.models.vr.CHUNK_SECONDS", 12 * step / 44_100)
    assert _geometry(parameters, V5).chunk_samples == 12 * step
    assert agreement(whole, run(track)) > 90


@pytest.mark.thorough
def test_networks_of_another_rate_are_resampled(tmp_path: Path) -> None:
    network = random(theirs_of(31191, 1024, width=2), seed=4)
    model = opened(tmp_path, network, bands="1band_sr33075_hl384")
    track = music(10_000)
    made = estimates(model, track)
    assert model.geometry.sample_rate == 33_075
    assert made.shape == (2, 2, 10_000)
    assert agreement(track[:, 1_000:-1_000], made.sum(dim=0)[:, 1_000:-1_000]) > 10


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("network", "changes", "message"),
    [
        (small, {"window_frames": 280}, r"window_frames 280; this network \(version 5\) takes multiples of 16 above"),
        (small, {"window_frames": 256}, "window_frames 256"),
        (deep, {"bands": "4band_v2", "window_frames": 320}, "half of whose bins are 336; .* of 32"),
        (newer, {"bands": "4band_44100"}, "its manifest row says bins 768; the file has 672"),
        (lambda: nn.Linear(2, 2), {}, "expected a VR network of version 5 or 5.1, found tensors of something else"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_its_rows_is_refused(
    network: Any, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=message):
        opened(tmp_path, network(), **changes)


@pytest.mark.thorough
def test_version_5_1_runs_with_its_own_context(tmp_path: Path) -> None:
    model = opened(tmp_path, newer(), **SMALL_5_1)
    made = estimates(model, music(8_000))
    assert made.isfinite().all()
    assert agreement(made[0], made[1]) < 20
