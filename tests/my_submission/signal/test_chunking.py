"""Chunk plans and overlap-add: laws that hold for every length, geometry and overlap."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from my_submission.signal.chunking import (
    Geometry,
    blend_window,
    count_chunks,
    longest_advance,
    overlap_add,
    plan_chunks,
    reader,
    triangular_window,
)
from tests.thinned import one_in

pytestmark = pytest.mark.quick

Model = Callable[[Tensor], Tensor]

GEOMETRIES = [
    Geometry(100),
    Geometry(100, short_chunk="as_is"),
    Geometry(100, short_chunk="as_is", least_samples=5),
    Geometry(80, margin_samples=10, short_chunk="start"),
    Geometry(7, margin_samples=3, short_chunk="centre"),
    Geometry(1),
    Geometry(100, fade_samples=10),
    Geometry(7, fade_samples=100),
    Geometry(100, window="hann", short_chunk="start"),
    Geometry(100, window="hann", lead_samples=20, short_chunk="start"),
    Geometry(7, window="hann", lead_samples=3),
    Geometry(100, window="middle", short_chunk="start"),
    Geometry(100, valid_length=lambda samples: samples + 21),
    Geometry(7, valid_length=lambda samples: 16 * -(-(samples + 9) // 16)),
]
LENGTHS = [1, 2, 39, 40, 41, 99, 100, 101, 160, 257, 500]
OVERLAPS = [0.0, 0.25, 0.5, 0.6, 0.75, 0.95]


def blend(track: Tensor, geometry: Geometry, overlap: float) -> tuple[Tensor, list[tuple[int, int]]]:
    """An identity model over a track: the blended result and the (start, length) of its pieces."""
    chunks = plan_chunks(track.shape[-1], geometry, overlap)
    read = reader(track)
    outputs = (read(chunk.read_start, chunk.read_length) for chunk in chunks)
    pieces = list(overlap_add(chunks, outputs, blend_window(geometry)))
    return torch.cat([piece for _, piece in pieces], dim=-1), [(s, p.shape[-1]) for s, p in pieces]


CASES = [
    (g, overlap) for g in GEOMETRIES for overlap in OVERLAPS if int((1 - overlap) * g.chunk_samples) >= 1
]


@pytest.mark.parametrize(("geometry", "overlap"), one_in(3, CASES))
def test_identity_gives_back_the_mixture(geometry: Geometry, overlap: float) -> None:
    for length in LENGTHS:
        track = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
        blended, pieces = blend(track, geometry, overlap)
        torch.testing.assert_close(blended, track, rtol=1e-5, atol=1e-6)
        ends = [start + samples for start, samples in pieces]
        assert [start for start, _ in pieces] == [0, *ends[:-1]], "pieces follow one another"


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_full_chunk_reads_what_its_geometry_says(geometry: Geometry) -> None:
    chunks = plan_chunks(20 * geometry.chunk_samples, geometry, 0.0)
    full = [chunk for chunk in chunks if chunk.length == geometry.chunk_samples]
    assert len(full) >= 15
    assert {chunk.read_length for chunk in full} == {geometry.read_samples}


@pytest.mark.parametrize("geometry", [each for each in GEOMETRIES if not each.lead_samples])
def test_without_a_lead_a_chunk_is_as_long_as_what_is_left_of_the_track(geometry: Geometry) -> None:
    for samples in LENGTHS:
        for chunk in plan_chunks(samples, geometry, 0.0):
            left = min(geometry.chunk_samples, samples - chunk.offset)
            assert (chunk.length, chunk.whole_length) == (left, left)


@pytest.mark.parametrize("samples", range(1, 12))
def test_what_is_read_of_a_short_track_has_as_much_silence_before_it_as_after_it(samples: int) -> None:
    geometry = Geometry(20, margin_samples=2, margins_inside=True, least_samples=11)
    (chunk,) = plan_chunks(samples, geometry, 0.0)
    before, after = -chunk.read_start, chunk.read_start + chunk.read_length - samples
    assert after - before in (0, 1)


def test_a_track_without_samples_has_no_chunks() -> None:
    assert plan_chunks(0, Geometry(10), 0.5) == plan_chunks(0, Geometry(10), 0.5, 40) == []
    assert plan_chunks(0, Geometry(10, lead_samples=3), 0.5) == []
    assert list(overlap_add([], [], triangular_window)) == []


def test_nothing_is_held_beyond_a_chunk() -> None:
    """Pieces come as soon as no later chunk can change them."""
    chunks = plan_chunks(1000, Geometry(100), 0.5)
    asked = 0

    def outputs() -> object:
        nonlocal asked
        for chunk in chunks:
            asked += 1
            yield torch.ones(1, chunk.read_length)

    for start, piece in overlap_add(chunks, outputs(), triangular_window):  # type: ignore[arg-type]
        assert start + piece.shape[-1] >= (asked - 2) * 50


def uvr_demix(track: Tensor, chunk_samples: int, trim: int, overlap: float, model: Model) -> Tensor:
    """Ultimate Vocal Remover's blend of MDX-Nets (`demix` in its separate.py), written from its description."""
    samples = track.shape[-1]
    inner = chunk_samples - 2 * trim
    padded = torch.nn.functional.pad(track.double(), (trim, inner + trim - samples % inner))
    total, divider = torch.zeros_like(padded), torch.zeros(padded.shape[-1], dtype=torch.float64)
    for start in range(0, padded.shape[-1], int((1 - overlap) * chunk_samples)):
        part = padded[:, start : start + chunk_samples]
        used = part.shape[-1]
        window = torch.from_numpy(np.hanning(used)) if overlap else torch.ones(used)
        output = model(torch.nn.functional.pad(part, (0, chunk_samples - used)))
        total[:, start : start + used] += output[:, :used] * window
        divider[start : start + used] += window
    return (total / divider)[:, trim:-trim][:, :samples].float()


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
def test_hann_windows_with_a_lead_are_the_blend_of_uvr(overlap: float) -> None:
    geometry = Geometry(100, window="hann", lead_samples=20, short_chunk="start")
    for length in (1, 2, 59, 60, 61, 99, 100, 101, 119, 120, 121, 1_000):
        track = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
        chunks = plan_chunks(length, geometry, overlap)
        assert len(chunks) == count_chunks(length, geometry, overlap)
        outputs = (whole_chunk(chunk.read(reader(track))) for chunk in chunks)
        pieces = list(overlap_add(chunks, outputs, blend_window(geometry)))
        expected = uvr_demix(track, 100, 20, overlap, lambda part: whole_chunk(part.float()).double())
        torch.testing.assert_close(torch.cat([piece for _, piece in pieces], dim=-1), expected)


def segment_by_segment(
    track: Tensor, geometry: Geometry, overlap: float, segment_samples: int, model: Model
) -> Tensor:
    """The released code's two functions (arXiv 2305.07489), written from their description.

    The outer one cuts segments, runs each by itself and averages them with equal weights; the inner one pads a
    segment with zeros, runs chunks that follow one another, and joins them.
    """
    total, times = torch.zeros_like(track), torch.zeros(track.shape[-1])
    for start in range(0, track.shape[-1], int(segment_samples * (1 - overlap))):
        segment = track[:, start : start + segment_samples]
        kept, margin = geometry.chunk_samples, geometry.margin_samples
        padded = torch.nn.functional.pad(segment, (margin, margin + kept))
        parts = [
            model(padded[:, first : first + kept + 2 * margin])[:, margin : margin + kept]
            for first in range(0, segment.shape[-1], kept)
        ]
        total[:, start : start + segment_samples] += torch.cat(parts, dim=-1)[:, : segment.shape[-1]]
        times[start : start + segment_samples] += 1
    return total / times


def whole_chunk(chunk: Tensor) -> Tensor:
    """A 'model' whose every sample depends on all that it reads, and on the place in the chunk."""
    return torch.tanh(chunk + chunk.mean()) * torch.linspace(0.5, 1.0, chunk.shape[-1])


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("length", [1, 17, 80, 81, 399, 400, 401, 1_000])
def test_segments_are_the_released_blend(length: int, overlap: float) -> None:
    """Below one chunk of 80, one segment of 400, two and a half; pieces come as soon as they are done."""
    geometry = Geometry(80, margin_samples=10, short_chunk="start")
    track = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
    chunks = plan_chunks(length, geometry, overlap, 400)
    assert len(chunks) == count_chunks(length, geometry, overlap, 400)
    outputs = (whole_chunk(chunk.read(reader(track))) for chunk in chunks)
    pieces = list(overlap_add(chunks, outputs, blend_window(geometry, 400)))
    assert max((piece.shape[-1] for _, piece in pieces), default=0) <= 80
    expected = segment_by_segment(track, geometry, overlap, 400, whole_chunk)
    torch.testing.assert_close(torch.cat([piece for _, piece in pieces], dim=-1), expected)


@pytest.mark.parametrize("geometry", one_in(3, GEOMETRIES))
@pytest.mark.parametrize("segment_samples", [30, 100, 250])
def test_identity_in_segments_gives_back_the_mixture(geometry: Geometry, segment_samples: int) -> None:
    for length in LENGTHS:
        track = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
        chunks = plan_chunks(length, geometry, 0.6, segment_samples)
        assert len(chunks) == count_chunks(length, geometry, 0.6, segment_samples)
        steps = [after.offset - before.offset for before, after in itertools.pairwise(chunks)]
        assert max(steps, default=0) <= longest_advance(geometry, 0.6, segment_samples)
        outputs = (chunk.read(reader(track)) for chunk in chunks)
        pieces = list(overlap_add(chunks, outputs, blend_window(geometry, segment_samples)))
        torch.testing.assert_close(torch.cat([piece for _, piece in pieces], dim=-1), track)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_reads_cover_what_is_kept(geometry: Geometry) -> None:
    for chunk in plan_chunks(333, geometry, 0.3 if geometry.chunk_samples > 1 else 0.0):
        assert chunk.read_start + chunk.trim == chunk.offset
        assert chunk.trim + chunk.length + geometry.margin_samples <= chunk.read_length


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5, 0.999])
def test_an_overlap_without_a_hop_is_an_error(overlap: float) -> None:
    with pytest.raises(ValueError, match="overlap: expected a fraction"):
        plan_chunks(100, Geometry(100), overlap)


def test_a_fading_window_is_flat_between_its_ramps_and_never_zero() -> None:
    window = blend_window(Geometry(10, fade_samples=3))(10)
    torch.testing.assert_close(window, torch.tensor([0.25, 0.5, 0.75, 1, 1, 1, 1, 0.75, 0.5, 0.25]))


def test_window_is_symmetric_positive_and_peaks_at_one() -> None:
    for length in (1, 2, 5, 6, 101):
        window = triangular_window(length)
        assert window.shape == (length,)
        assert window.max() == 1
        assert window.min() > 0
        torch.testing.assert_close(window, window.flip(0))


def test_reader_is_zero_outside_the_track() -> None:
    read = reader(torch.arange(1.0, 4.0)[None])
    assert read(-2, 7).tolist() == [[0, 0, 1, 2, 3, 0, 0]]
    assert read(-9, 3).tolist() == [[0, 0, 0]]
    assert read(7, 2).tolist() == [[0, 0]]
    assert read(1, 2).tolist() == [[2, 3]]
