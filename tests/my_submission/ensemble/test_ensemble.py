"""Cascades follow arXiv 2305.07489, section 3, with stub networks of known outputs; what nobody needs is not run."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from torch import Tensor

from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.plan import step_passes
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, load_preset
from my_submission.models import ChunkModel
from my_submission.runtime.pool import ModelPool
from my_submission.signal.augment import Polarity
from my_submission.signal.chunking import reader
from tests.my_submission.ensemble.stubs import SOURCES, Gains, Pool, ensemble, experts, random_signal
from tests.thinned import one_in

pytestmark = pytest.mark.usefixtures("short_delays")


@pytest.fixture
def noise() -> Tensor:
    """Eight of the chunks of the stubs."""
    return random_signal(8_000)


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


@pytest.mark.parametrize("name", one_in(3, ["mdx-c", "mdx-c-released", "mdx-c-consistent"]))
def test_a_stem_alone_is_what_it_is_among_all(name: str, noise: Tensor) -> None:
    """Its share of what the others leave included, for which the others are estimated, too."""
    noise = noise[:, :2_000]
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


def test_loudness_of_the_input_is_normalised_and_undone(tmp_path: Path) -> None:
    noise = random_signal(20_000)  # of less than 0.4 s there is none
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
    blocks = list(ensemble(path, models).stream(reader(track), 2, track.shape[-1], block_samples=2_000))
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
