"""A track in blocks is the track as a whole, whatever policy decides what runs and when it stops."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from torch import Tensor

from my_submission.ensemble.engine import Ensemble, Everything
from my_submission.ensemble.plan import Pass, Unit, step_units
from my_submission.ensemble.preset import Economy
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, load_preset
from my_submission.models import ChunkModel
from my_submission.runtime.pool import ModelPool
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal.chunking import Geometry, reader
from tests.my_submission.ensemble.stubs import Gains, Pool, ensemble, experts, random_signal
from tests.thinned import one_in

pytestmark = pytest.mark.usefixtures("short_delays")


@pytest.fixture
def noise() -> Tensor:
    """Eight of the chunks of the stubs."""
    return random_signal(8_000)


def preset_file(name: str, folder: Path, old: str, new: str) -> Path:
    """A copy of a preset with a piece of its text replaced."""
    path = folder / f"{name}.yaml"
    path.write_text((PRESETS_FOLDER / path.name).read_text().replace(old, new))
    return path


GEOMETRIES = {
    "Kim_Vocal_1": Geometry(2_000, margin_samples=300, short_chunk="start"),
    "Kim_Inst": Geometry(1_900, margin_samples=300, short_chunk="start"),
    "hdemucs_mmi": Geometry(7_000, short_chunk="as_is", least_samples=5),
}
"""Models of unlike geometry in one cascade, as MDX-Net, HTDemucs and HDemucs are."""


@pytest.mark.parametrize(
    ("block_samples", "schedule"),
    one_in(
        2,
        [
            (1, SEQUENTIAL),
            (999, Schedule(batch_size=5)),
            (999, Schedule(workers=3)),
            (4_000, SEQUENTIAL),
            (4_000, Schedule(batch_size=5)),
            (8_000, Schedule(workers=3)),
        ],
    ),
)
def test_blocks_change_nothing_but_rounding(
    noise: Tensor, block_samples: int, schedule: Schedule, tmp_path: Path
) -> None:
    """With stubs; real networks go through blocks in test_published_forms.py."""
    if block_samples == 1:
        noise = noise[:, :600]
    models = experts()
    for name, geometry in GEOMETRIES.items():
        cast(Gains, models[name]).geometry = geometry
    preset = load_preset(preset_file("mdx-c-released", tmp_path, "1000000", "5200"))
    expected = Ensemble(preset, cast(ModelPool, Pool(models))).separate(noise)
    separate = Ensemble(preset, cast(ModelPool, Pool(models)), schedule=schedule)
    position = 0
    for start, block in separate.stream(reader(noise), 2, noise.shape[-1], block_samples=block_samples):
        assert start == position
        for stem, piece in block.items():
            whole = expected[stem][:, start : start + piece.shape[-1]]
            torch.testing.assert_close(piece, whole, rtol=1e-5, atol=1e-7)
        position += piece.shape[-1]
    assert position == noise.shape[-1]


@pytest.mark.thorough
def test_segments_read_no_further_ahead_than_is_foreseen(tmp_path: Path) -> None:
    """Of a signal that another step makes block by block. The first segments hardly overlap: chunks advance most."""
    noise = random_signal(20_000)
    path = preset_file(
        "mdx-c", tmp_path, "    shifts: 1\n    overlap: 0.6", "    segment_samples: 10000\n    overlap: 0.9"
    )
    preset = load_preset(path).override(overlap=0.9, shifts=0)
    expected = Ensemble(preset, cast(ModelPool, Pool(experts()))).separate(noise)
    streamed = Ensemble(preset, cast(ModelPool, Pool(experts())), schedule=Schedule(batch_size=5))
    for start, block in streamed.stream(reader(noise), 2, noise.shape[-1], block_samples=500):
        for stem, piece in block.items():
            whole = expected[stem][:, start : start + piece.shape[-1]]
            torch.testing.assert_close(piece, whole, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("block_samples", one_in(2, [2_000, None]))
def test_a_policy_decides_what_runs_and_the_mean_is_of_that(block_samples: int | None, noise: Tensor) -> None:
    """Without a member, and in the other order: what the preset without it makes, in blocks of any size."""
    preset = load_preset("mdx-c")
    left_out = {"Kim_Inst, inverted", "htdemucs_6s", "htdemucs_6s, inverted"}

    class Some(Everything):
        def __init__(self) -> None:
            units = [step_units(step, preset, 0) for step in preset.steps]
            self.kept = [[unit for unit in of_step if unit.name not in left_out] for of_step in units]

        def next(self, step: int) -> Unit | None:
            return self.kept[step].pop() if self.kept[step] else None

        def note(self, one: Pass, chunks: int) -> tuple[float, float]:
            return 0.0, 0.0

    models = experts()
    found = {stem: torch.zeros_like(noise) for stem in preset.instruments}
    for start, block in Ensemble(preset, cast(ModelPool, Pool(models))).stream(
        reader(noise), 2, noise.shape[-1], block_samples=block_samples, policy=Some()
    ):
        for stem, piece in block.items():
            found[stem][:, start : start + piece.shape[-1]] = piece
    assert cast(Gains, models["Kim_Inst"]).inputs == cast(Gains, models["htdemucs_6s"]).inputs == []
    for model in ("Kim_Inst", "htdemucs_6s"):
        for step in preset.steps:
            dropped = Economy(step.name, model, drop=True)
            preset = replace(preset, steps=tuple(dropped.applied_to(one) for one in preset.steps))
    expected = Ensemble(preset, cast(ModelPool, Pool(experts()))).separate(noise)
    for stem, signal in expected.items():
        torch.testing.assert_close(found[stem], signal, rtol=1e-5, atol=1e-7)


def test_a_unit_that_is_stopped_leaves_nothing_behind(noise: Tensor) -> None:
    """Two members of the first step are stopped after their first chunk: the stem is the third's."""
    preset = load_preset("mdx-c").override(overlap=0.5, shifts=0)

    class Stopping(Everything):
        under_way = ""

        def next(self, step: int) -> Unit | None:
            unit = super().next(step)
            self.under_way = unit.name if unit else ""
            return unit

        def stop(self) -> bool:
            return self.under_way.startswith(("Kim_Inst", "htdemucs_ft")) and "ft, " not in self.under_way

    models = experts()
    cast(Gains, models["htdemucs_ft_vocals"]).gains[:] = 0.3
    made = Ensemble(preset.for_stems(["vocals"]), cast(ModelPool, Pool(models)))
    policy = Stopping(made.preset, 0)
    ((_, stems),) = made.stream(reader(noise), 2, noise.shape[-1], block_samples=None, policy=policy)
    assert len(cast(Gains, models["Kim_Inst"]).inputs) < noise.shape[-1] // 500
    torch.testing.assert_close(stems["vocals"], (12 * 0.5 + 1.5 * 0.3) / 13.5 * noise)


@pytest.mark.thorough
@pytest.mark.parametrize("segment_samples", ["1000000", pytest.param("13000", marks=pytest.mark.slow)])
def test_a_long_track_is_held_in_stretches_only(segment_samples: str, tmp_path: Path) -> None:
    """The mixture is read in windows near the block under way, never far ahead or behind."""
    samples, block = 160_000, 20_000
    under_way = [0]

    def read(start: int, length: int) -> Tensor:
        assert start > under_way[0] - 30_000
        assert start + length < under_way[0] + block + 30_000
        return torch.ones(2, length)

    preset = load_preset(preset_file("mdx-c-released", tmp_path, "1000000", segment_samples))
    for start, _ in Ensemble(preset, cast(ModelPool, Pool(experts()))).stream(
        read, 2, samples, block_samples=block
    ):
        under_way[0] = start + block


@pytest.mark.parametrize("key", one_in(2, [{"loudness_lufs": -27}, {"normalise": "mono"}]))
def test_a_level_behind_another_step_is_of_the_whole_signal(key: dict[str, Any], tmp_path: Path) -> None:
    noise = random_signal(20_000)  # of less than 0.4 s there is no loudness
    document = yaml.safe_load((PRESETS_FOLDER / "cdx-b.yaml").read_text())
    document["steps"][1] |= key
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(document))
    rows = load_preset("cdx-b").manifest.checkpoints
    models: dict[str, ChunkModel] = {
        name: Gains(dict.fromkeys(row.sources, 0.25)) for name, row in rows.items()
    }
    noise[:, :10_000] *= 0.01
    blocks = list(ensemble(path, models).stream(reader(noise), 2, noise.shape[-1], block_samples=5_000))
    assert len(blocks) == 1
    plain = ensemble("cdx-b", models).separate(noise)
    torch.testing.assert_close(blocks[0][1]["music"], plain["music"], rtol=1e-4, atol=1e-6)
