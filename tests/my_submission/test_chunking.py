"""Chunk plans and overlap-add: laws that hold for every length, geometry and overlap."""

import pytest
import torch
from torch import Tensor

from my_submission.signal.chunking import Geometry, overlap_add, plan_chunks, reader, triangular_window

GEOMETRIES = [
    Geometry(100),
    Geometry(100, short_chunk="as_is"),
    Geometry(100, short_chunk="as_is", least_samples=5),
    Geometry(80, margin_samples=10, short_chunk="start"),
    Geometry(7, margin_samples=3, short_chunk="centre"),
    Geometry(1),
]
LENGTHS = [1, 2, 39, 40, 41, 99, 100, 101, 160, 257, 1000]
OVERLAPS = [0.0, 0.25, 0.5, 0.6, 0.75, 0.95]


def blend(track: Tensor, geometry: Geometry, overlap: float) -> tuple[Tensor, list[tuple[int, int]]]:
    """An identity model over a track: the blended result and the (start, length) of its pieces."""
    chunks = plan_chunks(track.shape[-1], geometry, overlap)
    read = reader(track)
    outputs = (read(chunk.read_start, chunk.read_length) for chunk in chunks)
    pieces = list(overlap_add(chunks, outputs, triangular_window(geometry.chunk_samples)))
    return torch.cat([piece for _, piece in pieces], dim=-1), [(s, p.shape[-1]) for s, p in pieces]


CASES = [
    (g, overlap) for g in GEOMETRIES for overlap in OVERLAPS if int((1 - overlap) * g.chunk_samples) >= 1
]


@pytest.mark.parametrize(("geometry", "overlap"), CASES)
def test_identity_gives_back_the_mixture(geometry: Geometry, overlap: float) -> None:
    for length in LENGTHS:
        track = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
        blended, pieces = blend(track, geometry, overlap)
        torch.testing.assert_close(blended, track, rtol=1e-5, atol=1e-6)
        ends = [start + samples for start, samples in pieces]
        assert [start for start, _ in pieces] == [0, *ends[:-1]], "pieces follow one another"


def test_a_track_without_samples_has_no_chunks() -> None:
    assert plan_chunks(0, Geometry(10), 0.5) == []
    assert list(overlap_add([], [], triangular_window(10))) == []


def test_nothing_is_held_beyond_a_chunk() -> None:
    """Pieces come as soon as no later chunk can change them."""
    chunks = plan_chunks(1000, Geometry(100), 0.5)
    asked = 0

    def outputs() -> object:
        nonlocal asked
        for chunk in chunks:
            asked += 1
            yield torch.ones(1, chunk.read_length)

    for start, piece in overlap_add(chunks, outputs(), triangular_window(100)):  # type: ignore[arg-type]
        assert start + piece.shape[-1] >= (asked - 2) * 50


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_reads_cover_what_is_kept(geometry: Geometry) -> None:
    for chunk in plan_chunks(333, geometry, 0.3 if geometry.chunk_samples > 1 else 0.0):
        assert chunk.read_start + chunk.trim == chunk.offset
        assert chunk.trim + chunk.length + geometry.margin_samples <= chunk.read_length


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5, 0.999])
def test_an_overlap_without_a_hop_is_an_error(overlap: float) -> None:
    with pytest.raises(ValueError, match="overlap: expected a fraction"):
        plan_chunks(100, Geometry(100), overlap)


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
