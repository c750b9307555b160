"""Cascades follow arXiv 2305.07489, section 3, with stub networks of known outputs; what nobody needs is not run."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from torch import Tensor

from my_submission.ensemble.engine import Ensemble, Everything
from my_submission.ensemble.plan import Pass, Unit, step_passes, step_units
from my_submission.ensemble.preset import Economy
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, load_preset
from my_submission.models import ChunkModel
from my_submission.runtime.pool import ModelPool
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal.augment import Polarity
from my_submission.signal.chunking import Geometry, reader


@pytest.fixture
def noise() -> Tensor:
    """20,000 samples of stereo noise: twenty of the chunks below."""
    return 0.1 * torch.randn(2, 20_000, generator=torch.Generator().manual_seed(7))


class Gains:
    """A 'network' that gives a fixed fraction of its input for each source, plus a constant bias."""

    geometry = Geometry(1_000)
    bytes_per_sample = 1

    def __init__(self, gains: dict[str, float], bias: float = 0.0) -> None:
        self.sources = tuple(gains)
        self.gains = torch.tensor(list(gains.values()))[:, None, None]
        self.bias = bias
        self.inputs: list[Tensor] = []

    def __call__(self, chunks: Tensor) -> Tensor:
        self.inputs.extend(chunks)
        return chunks[:, None] * self.gains + self.bias


class Pool:
    """Stands for a ModelPool; counts which checkpoint is asked for."""

    def __init__(self, models: dict[str, ChunkModel]) -> None:
        self.models = models
        self.calls: Counter[str] = Counter()

    def get(self, name: str) -> ChunkModel:
        self.calls[name] += 1
        return self.models[name]


def ensemble(preset: str | Path, models: dict[str, ChunkModel], seed: int = 0) -> Ensemble:
    return Ensemble(load_preset(preset), cast(ModelPool, Pool(models)), seed)


SOURCES = ("drums", "bass", "other", "vocals")


def experts(**gains: dict[str, float]) -> dict[str, ChunkModel]:
    """The models of mdx-c, each with these gains of its sources."""
    return {
        "Kim_Vocal_1": Gains({"vocals": 0.5}),
        "Kim_Inst": Gains({"instrumental": 0.7}),
        "htdemucs_ft_vocals": Gains(dict.fromkeys(SOURCES, 0.2)),
        **{f"htdemucs_ft_{stem}": Gains(dict.fromkeys(SOURCES, 0.3)) for stem in SOURCES[:3]},
        "htdemucs": Gains(dict.fromkeys(SOURCES, 0.1)),
        "htdemucs_6s": Gains({**dict.fromkeys(SOURCES, 0.1), "guitar": 0.05, "piano": 0.02}),
        "hdemucs_mmi": Gains(dict.fromkeys(SOURCES, 0.4)),
        **{name: Gains(sources) for name, sources in gains.items()},
    }


def test_cdx_b_is_facts_3_to_the_letter(noise: Tensor) -> None:
    names = ("music", "effect", "dialog")
    models: dict[str, ChunkModel] = {
        "Kim_Vocal_1": Gains({"vocals": 0.5}),
        "UVR-MDX-NET-Inst_HQ_2": Gains({"instrumental": 0.7}),
        "htdemucs_ft_vocals": Gains(dict.fromkeys(SOURCES, 0.2)),
        "dnr_a778de4a": Gains(dict(zip(names, (0.3, 0.2, 9.0), strict=True))),
        "dnr_dbb4db15": Gains(dict(zip(names, (0.6, 0.2, 9.0), strict=True))),
        "dnr_e41a5468": Gains(dict(zip(names, (0.9, 0.5, 9.0), strict=True))),
    }
    stems = ensemble("cdx-b", models).separate(noise)
    dialog = (10 * 0.5 + 4 * (1 - 0.7) + 2 * 0.2) / 16 * noise
    torch.testing.assert_close(stems["dialog"], dialog, rtol=1e-4, atol=1e-6)
    instrumental = noise - dialog
    effect, music = 0.3 * instrumental, 0.6 * instrumental
    expected = {"effect": (effect + instrumental - music) / 2, "music": (music + instrumental - effect) / 2}
    for stem, signal in expected.items():
        torch.testing.assert_close(stems[stem], signal, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["mdx-c", "mdx-c-released", "mdx-c-consistent"])
def test_a_stem_alone_is_what_it_is_among_all(name: str, noise: Tensor) -> None:
    """Its share of what the others leave included, for which the others are estimated, too."""
    noise = noise[:, :4_000]
    preset = load_preset(name)
    whole = ensemble(name, experts()).separate(noise)
    for stem in preset.instruments:
        alone = Ensemble(preset.for_stems([stem]), cast(ModelPool, Pool(experts()))).separate(noise)
        assert list(alone) == [stem]
        torch.testing.assert_close(alone[stem], whole[stem])


def test_both_polarities_have_delays_of_their_own_and_each_alone_the_same() -> None:
    preset = load_preset("mdx-c").override(None, shifts=3)

    def delays(polarity: str) -> dict[tuple[str, str], list[int]]:
        found: dict[tuple[str, str], list[int]] = {}
        for step in preset.steps:
            members = tuple(replace(member, polarity=Polarity(polarity)) for member in step.members)
            for one in step_passes(replace(step, members=members), preset, seed=5):
                key = (f"{step.name} {one.checkpoint}", "plain" if one.augmentation.gain > 0 else "inverted")
                found.setdefault(key, []).append(one.augmentation.delay_samples)
        return found

    both, plain, inverted = (delays(polarity) for polarity in ("both", "plain", "inverted"))
    assert both == plain | inverted
    assert all(len(set(drawn)) == 3 for drawn in both.values())
    assert len({tuple(drawn) for drawn in both.values()}) == len(both)


def test_polarity_cancels_a_bias_and_inverted_negates_it(noise: Tensor) -> None:
    """½·f(x) − ½·f(−x) of `g·x + b` is g·x; −f(−x) is g·x − b; f(x) is g·x + b."""
    models = experts()
    models["htdemucs_ft_vocals"] = Gains(dict.fromkeys(SOURCES, 0.2), bias=1.0)  # polarity: both
    models["Kim_Inst"] = Gains({"instrumental": 0.7}, bias=2.0)  # polarity: inverted
    models["Kim_Vocal_1"] = Gains({"vocals": 0.5}, bias=4.0)  # plain
    vocals = ensemble("mdx-c", models).separate(noise)["vocals"]
    bias = (12 * 4.0 + 8 * 2.0) / 23
    expected = (12 * 0.5 + 8 * (1 - 0.7) + 3 * 0.2) / 23 * noise + bias
    torch.testing.assert_close(vocals, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("preset", ["mdx-c-consistent", "cdx-b"])
def test_estimates_add_up_to_the_mixture(preset: str, noise: Tensor) -> None:
    generator = torch.Generator().manual_seed(3)
    loaded = load_preset(preset)
    models: dict[str, ChunkModel] = {
        name: Gains({source: float(torch.rand(1, generator=generator)) for source in row.sources}, bias=0.01)
        for name, row in loaded.manifest.checkpoints.items()
    }
    stems = ensemble(preset, models).separate(noise)
    assert list(stems) == list(loaded.instruments)
    assert (sum(stems.values()) - noise).abs().max() < 1e-6


def test_only_what_is_needed_runs(noise: Tensor) -> None:
    """Calls of each network: htdemucs_ft's vocals expert on the mixture alone, its others on the instrumental."""
    models = experts()
    preset = load_preset("mdx-c").override(overlap=0.5, shifts=0)
    Ensemble(preset, cast(ModelPool, Pool(models))).separate(noise)
    chunks = -(-noise.shape[-1] // 500)
    both = 2 * chunks
    assert {name: len(cast(Gains, model).inputs) for name, model in models.items()} == {
        "Kim_Vocal_1": chunks,
        "Kim_Inst": chunks,
        "htdemucs_ft_vocals": both,
        "htdemucs_ft_drums": both,
        "htdemucs_ft_bass": both,
        "htdemucs_ft_other": both,
        "htdemucs": both,
        "htdemucs_6s": both,
        "hdemucs_mmi": both,
    }


def test_unneeded_experts_are_not_loaded_for_a_preset(tmp_path: Path, noise: Tensor) -> None:
    document = {
        "track": "music",
        "steps": [
            {
                "name": "all",
                "input": "mixture",
                "stems": ["bass", "drums", "other", "vocals"],
                "members": [
                    {"model": "htdemucs", "weight": 1},
                    {"model": "htdemucs_ft", "weights": {"bass": 1}},
                ],
            }
        ],
    }
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(document))
    models = experts()
    pool = Pool(models)
    Ensemble(load_preset(path), cast(ModelPool, pool)).separate(noise)
    assert set(pool.calls) == {"htdemucs", "htdemucs_ft_bass"}


def test_a_residual_is_what_is_left_after_the_shares(tmp_path: Path, noise: Tensor) -> None:
    """A stem of half the input that takes a quarter of the other half leaves three eighths."""
    document = yaml.safe_load((PRESETS_FOLDER / "cdx-b.yaml").read_text())
    del document["economies"]
    first, second = document["steps"]
    first["members"] = [{"model": "dnr_a778de4a"}]
    first["residual_shares"] = {"dialog": "1/4"}
    second["members"] = [{"model": "dnr_a778de4a"}]
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(document))
    gains = {"music": 0.3, "effect": 0.1, "dialog": 0.5}
    made = ensemble(path, {"dnr_a778de4a": Gains(gains)})
    stems = made.separate(noise)
    torch.testing.assert_close(stems["dialog"], 0.625 * noise)
    torch.testing.assert_close(stems["music"], (0.3 + 0.3) * 0.375 * noise)
    torch.testing.assert_close(stems["effect"], (0.1 + 0.3) * 0.375 * noise)
    assert made.preset.mixture_consistent


def test_a_weighted_bag_enters_a_mean_as_one_member(tmp_path: Path, noise: Tensor) -> None:
    """Two experts share `other` 2 : 1, and make bass and drums alone; the bag weighs 3 against another's 1."""
    bag = [
        {"checkpoint": "htdemucs_ft_drums", "weights": {"drums": 1, "other": 2}},
        {"checkpoint": "htdemucs_ft_bass", "weights": {"bass": 5, "other": 1, "vocals": 1}},
    ]
    (tmp_path / "bags.yaml").write_text(yaml.safe_dump({"bags": {"mixed": bag}}))
    members = [{"model": "mixed", "weight": 3, "polarity": "both"}, {"model": "htdemucs", "weight": 1}]
    step = {"name": "all", "input": "mixture", "stems": list(SOURCES), "members": members}
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"track": "music", "manifest": "bags.yaml", "steps": [step]}))
    models = experts(
        htdemucs_ft_drums=dict.fromkeys(SOURCES, 0.8), htdemucs_ft_bass=dict.fromkeys(SOURCES, 0.2)
    )
    stems = ensemble(path, models).separate(noise)
    of_bag = {"drums": 0.8, "bass": 0.2, "vocals": 0.2, "other": (2 * 0.8 + 0.2) / 3}
    for stem, gain in of_bag.items():
        torch.testing.assert_close(stems[stem], (3 * gain + 0.1) / 4 * noise)


@pytest.mark.parametrize("runs", ["shifts: 3", "polarity: both", "shifts: 2, polarity: both"])
def test_how_often_a_member_runs_changes_nothing_of_its_weight(
    runs: str, tmp_path: Path, noise: Tensor
) -> None:
    (tmp_path / "two.yaml").write_text(
        "stems: [vocals]\nsteps: [{name: one, input: mixture, stems: [vocals], members: ["
        f"{{model: htdemucs, weight: 3}}, {{model: hdemucs_mmi, {runs}}}]}}]\n"
    )
    models: dict[str, ChunkModel] = {
        "htdemucs": Gains(dict.fromkeys(SOURCES, 0.1)),
        "hdemucs_mmi": Gains(dict.fromkeys(SOURCES, 0.5)),
    }
    stems = ensemble(tmp_path / "two.yaml", models).separate(noise)
    torch.testing.assert_close(stems["vocals"], (3 * 0.1 + 0.5) / 4 * noise, rtol=1e-4, atol=1e-6)


def test_loudness_of_the_input_is_normalised_and_undone(tmp_path: Path, noise: Tensor) -> None:
    step: dict[str, Any] = {
        "name": "all",
        "input": "mixture",
        "stems": ["dialog", "effect", "music"],
        "loudness_lufs": -27,
        "members": [{"model": "dnr_a778de4a"}],
    }
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"track": "cinematic", "steps": [step]}))
    seen = []
    for level in (0.01, 1.0):
        model = Gains({"music": 0.5, "effect": 0.25, "dialog": 0.125})
        stems = ensemble(path, {"dnr_a778de4a": model}).separate(level * noise)
        torch.testing.assert_close(stems["music"], 0.5 * level * noise)
        seen.append(max(float(chunk.abs().max()) for chunk in model.inputs))
    assert seen[0] == pytest.approx(seen[1], rel=1e-3)


@pytest.mark.parametrize(("of", "polarity"), [("mono", "plain"), ("all", "plain"), ("mono", "inverted")])
def test_a_normalised_member_sees_mean_0_and_deviation_1_and_every_source_gets_the_level_back(
    of: str, polarity: str, tmp_path: Path, noise: Tensor
) -> None:
    """Only that member; whatever size blocks have."""
    members = [
        {
            "model": "dnr_a778de4a",
            "normalise": of,
            "polarity": polarity,
            "weights": {"music": 1, "effect": 1},
        },
        {"model": "dnr_dbb4db15", "weights": {"dialog": 1}},
    ]
    step = {"name": "all", "input": "mixture", "stems": ["dialog", "effect", "music"], "members": members}
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"track": "cinematic", "steps": [step]}))
    track = 0.1 * noise + torch.tensor([[0.3], [0.1]])
    gains = {"music": 0.5, "effect": 0.25, "dialog": 0.125}
    model, other = Gains(gains), Gains(gains)
    models: dict[str, ChunkModel] = {"dnr_a778de4a": model, "dnr_dbb4db15": other}
    stems = ensemble(path, models).separate(track)
    values = track.mean(dim=0) if of == "mono" else track
    mean, deviation = values.mean(), values.std()
    torch.testing.assert_close(stems["music"], 0.5 * (track - mean) + mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(stems["effect"], 0.25 * (track - mean) + mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(stems["dialog"], 0.125 * track)
    sign = -1 if polarity == "inverted" else 1
    assert max(float(chunk.max()) for chunk in model.inputs) == pytest.approx(
        float((sign * (track - mean) / deviation).max()), rel=1e-3
    )
    blocks = list(ensemble(path, models).stream(reader(track), 2, track.shape[-1], block_samples=5_000))
    assert len(blocks) > 1
    whole = torch.cat([block["music"] for _, block in blocks], dim=-1)
    torch.testing.assert_close(whole, stems["music"], rtol=1e-5, atol=1e-6)


def test_delays_depend_on_the_seed_alone(noise: Tensor) -> None:
    """A bias that a window does not cancel shows where chunks lay; the same seed gives the same bits."""

    class Position(Gains):
        def __call__(self, chunks: Tensor) -> Tensor:
            return super().__call__(chunks) * torch.linspace(0, 1, chunks.shape[-1])

    def run(seed: int, times: int) -> Tensor:
        models = experts()
        models["htdemucs"] = Position(dict.fromkeys(SOURCES, 0.5))
        separate = ensemble("mdx-c", models, seed)
        return [separate.separate(noise[:, :3_000])["bass"] for _ in range(times)][-1]

    assert torch.equal(run(0, 1), run(0, 2))
    assert not torch.allclose(run(0, 1), run(1, 1), rtol=0, atol=1e-6)


def test_progress_reaches_the_total_and_never_falls(noise: Tensor) -> None:
    reports: list[tuple[float, float]] = []
    ensemble("mdx-c", experts()).separate(noise, lambda done, total: reports.append((done, total)))
    done = [d for d, _ in reports]
    assert done == sorted(done)
    assert len({total for _, total in reports}) == 1
    assert reports[-1][0] == pytest.approx(reports[-1][1])


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
    [
        (1, SEQUENTIAL),
        (999, Schedule(batch_size=5)),
        (999, Schedule(workers=3)),
        (10_000, SEQUENTIAL),
        (10_000, Schedule(batch_size=5)),
        (20_000, Schedule(workers=3)),
    ],
)
def test_blocks_change_nothing_but_rounding(
    noise: Tensor, block_samples: int, schedule: Schedule, tmp_path: Path
) -> None:
    """With stubs; real networks go through blocks in test_published_forms.py."""
    if block_samples == 1:
        noise = noise[:, :1_200]
    models = experts()
    for name, geometry in GEOMETRIES.items():
        cast(Gains, models[name]).geometry = geometry
    preset = load_preset(preset_file("mdx-c-released", tmp_path, "1000000", "13000"))
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
def test_segments_read_no_further_ahead_than_is_foreseen(noise: Tensor, tmp_path: Path) -> None:
    """Of a signal that another step makes block by block. The first segments hardly overlap: chunks advance most."""
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


@pytest.mark.parametrize("block_samples", [5_000, None])
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


@pytest.mark.parametrize("key", [{"loudness_lufs": -27}, {"normalise": "mono"}])
def test_a_level_behind_another_step_is_of_the_whole_signal(
    key: dict[str, Any], tmp_path: Path, noise: Tensor
) -> None:
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
