"""Networks of another sample rate, and of one channel: the kit resamples and folds, and nothing else changes."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from my_submission.runtime.inference import (
    count_chunks,
    estimate_track,
    lookahead_samples,
    lookback_samples,
)
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import Geometry, Reader, reader
from my_submission.signal.resampling import pieces_at_rate, reader_at_rate, resample, resampled_length
from tests.thinned import one_in

pytestmark = pytest.mark.quick

KIT = 44_100


class Fake:
    """Two sources: the input and its negation. Refuses what is not of the geometry's channels."""

    sources = ("same", "negated")
    bytes_per_sample = 1

    def __init__(self, **geometry: object) -> None:
        self.geometry = Geometry(20_000, **geometry)  # type: ignore[arg-type]
        self.items = 0

    def __call__(self, chunks: Tensor) -> Tensor:
        assert chunks.shape[1] == self.geometry.channels
        self.items += len(chunks)
        return torch.stack([chunks, -chunks], dim=1)


def tones(samples: int, low: float = 100, high: float = 9_000) -> Tensor:
    """Two channels that differ, of what every rate below can hold, faded in and out."""
    time = torch.arange(samples, dtype=torch.float64) / KIT
    fade = torch.sin(math.pi * torch.linspace(0, 1, samples, dtype=torch.float64)) ** 2
    channels = [torch.sin(2 * math.pi * low * time), torch.sin(2 * math.pi * high * time + 1)]
    return (0.3 * fade * torch.stack(channels)).float()


def estimates(
    model: Fake, signal: Tensor, augmentation: Augmentation | None = None, schedule: Schedule = SEQUENTIAL
) -> Tensor:
    """The whole track's estimates, (2, channels, samples), pieces put one after the other."""
    end = 0
    pieces = []
    for start, piece in estimate_track(
        model, reader(signal), signal.shape[-1], augmentation or Augmentation(), 0.25, schedule
    ):
        assert start == end
        end += piece.shape[-1]
        pieces.append(piece)
    return torch.cat(pieces, dim=-1)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", one_in(2, [22_050, 32_000, 48_000, 44_100]))
@pytest.mark.parametrize("samples", [1, 1_000, 100_001])
def test_identity_in_identity_out(rate: int, channels: int, samples: int) -> None:
    signal = tones(samples)
    same, negated = estimates(Fake(sample_rate=rate, channels=channels), signal)
    assert same.shape == signal.shape
    torch.testing.assert_close(same, signal, rtol=0, atol=1e-6 if rate == KIT else 1e-4)
    assert torch.equal(negated, -same)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_augmentations_are_undone_at_the_kits_rate(rate: int) -> None:
    signal = tones(60_000)
    model = Fake(sample_rate=rate, channels=1)
    for augmentation in (Augmentation(-1.0, 12_345), Augmentation(0.5, 1)):
        same, _ = estimates(model, signal, augmentation)
        torch.testing.assert_close(same, signal, rtol=0, atol=1e-4)


@pytest.mark.parametrize("geometry", [{"channels": 1}, {"sample_rate": 48_000}])
def test_the_schedule_changes_nothing(geometry: dict[str, object]) -> None:
    signal = tones(60_000)
    one = estimates(Fake(**geometry), signal)
    for schedule in (Schedule(batch_size=3), Schedule(workers=3), Schedule(2, 2)):
        assert torch.equal(estimates(Fake(**geometry), signal, schedule=schedule), one)


def test_a_silent_channel_is_not_run() -> None:
    signal = tones(50_000)
    signal[1] = 0
    mono, stereo = Fake(channels=1), Fake()
    same, _ = estimates(mono, signal)
    estimates(stereo, signal)
    assert mono.items == stereo.items
    assert same[1].abs().max() == 0


@pytest.mark.parametrize("rate", [8_000, 32_000, 48_000])
def test_no_more_is_read_than_is_said(rate: int) -> None:
    """What the engine keeps of a signal, and what it has to have of it, are told by these bounds."""
    samples = 200_000
    signal = tones(samples, high=3_000)
    model = Fake(sample_rate=rate)
    reads: list[tuple[int, int]] = []

    def noted(start: int, length: int) -> Tensor:
        reads.append((start, start + length))
        return reader(signal)(start, length)

    schedule = Schedule(batch_size=2)
    done = 0
    for start, piece in estimate_track(model, noted, samples, Augmentation(), 0.5, schedule):
        end = start + piece.shape[-1]
        assert max(last for _, last in reads) <= end + lookahead_samples(model.geometry, 0.5, schedule)
        assert min(first for first, _ in reads) >= done - lookback_samples(model.geometry)
        reads.clear()
        reads.append((done, end))
        done = end


def test_no_more_is_read_than_is_said_where_a_network_loses_samples() -> None:
    """Also for the last chunk, which is short."""
    model = Fake(valid_length=lambda samples: 4_096 * (samples // 4_096 + 3))
    reads: list[tuple[int, int]] = []

    def noted(start: int, length: int) -> Tensor:
        reads.append((start, start + length))
        return torch.ones(2, length)

    samples, done = 5 * model.geometry.chunk_samples // 2 + 1, 0
    for start, piece in estimate_track(model, noted, samples, Augmentation(), 0.5):
        end = start + piece.shape[-1]
        assert max(last for _, last in reads) <= end + lookahead_samples(model.geometry, 0.5, SEQUENTIAL)
        assert min(first for first, _ in reads) >= done - lookback_samples(model.geometry)
        reads.clear()
        reads.append((done, end))
        done = end
    assert done == samples


@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_as_many_chunks_as_are_counted(rate: int) -> None:
    model = Fake(sample_rate=rate)
    counted: list[int] = []
    augmentation = Augmentation(1.0, 5_000)
    for _ in estimate_track(
        model, reader(tones(90_000)), 90_000, augmentation, 0.25, SEQUENTIAL, counted.append
    ):
        pass
    assert sum(counted) == count_chunks(model.geometry, 90_000, augmentation, 0.25)


@pytest.mark.parametrize("rate", [8_000, 16_000, 32_000, 48_000, 96_000])
def test_windows_are_parts_of_the_whole(rate: int) -> None:
    """Whatever window is read, a sample is the same; before and after the signal there is nothing but its ringing."""
    signal = torch.randn(2, 60_000, generator=torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(signal, (KIT // 10, 0))
    whole = resample(padded, KIT, rate)[:, rate // 10 :]
    read = reader_at_rate(reader(signal), KIT, rate)
    for start, length in ((0, 1_000), (1_234, 5_678), (whole.shape[-1] - 700, 700)):
        window = read(start, length)
        torch.testing.assert_close(window, whole[:, start : start + length], rtol=0, atol=2e-6)


def test_pieces_of_any_size_make_the_whole() -> None:
    signal = tones(50_000)
    estimate = torch.stack([signal, 2 * signal, -signal])  # (sources, channels, samples)
    samples = resampled_length(50_000, KIT, 48_000)

    def pieces(size: int) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, 50_000, size):
            yield start, estimate[..., start : start + size]

    def joined(size: int) -> Tensor:
        made = list(pieces_at_rate(pieces(size), KIT, 48_000, 50_000, samples))
        assert [start for start, _ in made] == [
            sum(piece.shape[-1] for _, piece in made[:index]) for index in range(len(made))
        ]
        return torch.cat([piece for _, piece in made], dim=-1)

    whole = joined(50_000)
    assert whole.shape == (3, 2, samples)
    assert torch.equal(joined(777), whole)
    assert torch.equal(whole[0], resample(signal, KIT, 48_000, samples))


def test_the_kits_own_rate_costs_nothing() -> None:
    read: Reader = reader(tones(10))
    assert reader_at_rate(read, KIT, KIT) is read
