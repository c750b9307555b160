"""Leaderboard C's ensemble has three forms; each equals its source's formulas, written down apart from ours."""

from pathlib import Path
from typing import cast

import pytest
import torch
import yaml
from torch import Tensor

from benchmarks import published
from benchmarks.ensemble import published_offsets
from benchmarks.published import FORMS, Published
from my_submission.ensemble import plan
from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.plan import needed_sources
from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, load_preset
from my_submission.models import ChunkModel
from my_submission.runtime.devices import Precision
from my_submission.runtime.pool import ModelPool
from my_submission.signal.chunking import reader
from tests.my_submission.ensemble.stubs import Gains, Pool
from tests.random_checkpoints import SMALL_FRAMES

CPU = torch.device("cpu")
SHARES = {
    "mdx-c": {"bass": 1 / 3, "drums": 1 / 3, "other": 2 / 3},
    "mdx-c-released": {"other": 1 / 3},
    "mdx-c-kim2": {"other": 1 / 3},
    "mdx-c-consistent": {"bass": 1 / 3, "drums": 1 / 3, "other": 1 / 3},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_formulas_are_shares_of_what_is_left(form: str) -> None:
    """(1 − r)·own mean + r·(instrumental − the two others), whatever the means are; perfect ones stay as they are."""
    instrumental, *means = torch.randn(
        4, 2, 1_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    names = ("bass", "drums", "other")
    left = instrumental - sum(means)
    expected = {
        stem: mean + SHARES[form].get(stem, 0.0) * left for stem, mean in zip(names, means, strict=True)
    }
    torch.testing.assert_close(FORMS[form](instrumental, *means), expected)
    perfect = dict(zip(names, means, strict=True))
    total = means[0] + means[1] + means[2]
    torch.testing.assert_close(FORMS[form](total, *means), perfect)


@pytest.mark.parametrize("name", SHARES)
def test_each_preset_states_its_shares(name: str) -> None:
    vocals, instruments = load_preset(name).steps
    assert vocals.residual_shares == {}
    assert instruments.residual_shares == pytest.approx(SHARES[name])
    assert load_preset(name).mixture_consistent == (name == "mdx-c-consistent")
    segments = {
        member.model: member.segment_samples for step in (vocals, instruments) for member in step.members
    }
    mdx_nets = {model for model in segments if model.startswith("Kim")}
    released = name in ("mdx-c-released", "mdx-c-kim2")
    assert segments == {model: 1_000_000 if released and model in mdx_nets else None for model in segments}


@pytest.mark.parametrize("name", SHARES)
def test_forms_differ_in_nothing_else(name: str) -> None:
    """Members, weights, polarities, shifts and overlaps are those of the paper; of kim2, but for one model."""
    ours, papers = (yaml.safe_load((PRESETS_FOLDER / f"{one}.yaml").read_text()) for one in (name, "mdx-c"))
    for document in (ours, papers):
        for step in document["steps"]:
            step.pop("consistency", None)
            step.pop("residual_shares", None)
            for member in step["members"]:
                member.pop("segment_samples", None)
    assert yaml.safe_dump(ours["steps"]).replace("Kim_Vocal_2", "Kim_Vocal_1") == yaml.safe_dump(
        papers["steps"]
    )
    assert ours["economies"] == papers["economies"]


@pytest.mark.parametrize("name", FORMS)
def test_each_preset_makes_what_its_formulas_make(name: str, noise: Tensor) -> None:
    """With networks that give known fractions of their input."""
    noise = noise[:, :4_000]
    four = ("drums", "bass", "other", "vocals")
    gains = {
        "Kim_Vocal_1": {"vocals": 0.5},
        "Kim_Inst": {"instrumental": 0.7},
        "htdemucs_ft_vocals": dict.fromkeys(four, 0.2),
        **{f"htdemucs_ft_{stem}": dict.fromkeys(four, 0.3) for stem in four[:3]},
        "htdemucs": dict.fromkeys(four, 0.1),
        "htdemucs_6s": {**dict.fromkeys(four, 0.1), "guitar": 0.05, "piano": 0.02},
        "hdemucs_mmi": dict.fromkeys(four, 0.4),
    }
    models: dict[str, ChunkModel] = {model: Gains(one) for model, one in gains.items()}
    stems = Ensemble(load_preset(name), cast(ModelPool, Pool(models))).separate(noise)
    vocals = (12 * 0.5 + 8 * (1 - 0.7) + 3 * 0.2) / 23 * noise
    instrumental = noise - vocals
    bass = (19 * 0.3 + 4 * 0.1 + 5 * 0.1 + 8 * 0.4) / 36 * instrumental
    drums = (18 * 0.3 + 2 * 0.1 + 4 * 0.1 + 9 * 0.4) / 33 * instrumental
    other = (14 * 0.3 + 2 * 0.1 + 5 * (0.1 + 0.05 + 0.02) + 10 * 0.4) / 31 * instrumental
    expected = {"vocals": vocals, **FORMS[name](instrumental, bass, drums, other)}
    for stem, signal in expected.items():
        torch.testing.assert_close(stems[stem], signal, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("small_manifest")
@pytest.mark.parametrize("name", ["mdx-c", "mdx-c-released"])
def test_random_networks_through_the_whole_pipeline_are_the_transcription(
    name: str, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every network, chunk, block, delay, polarity, weight and share: demucs, ONNX Runtime and the formulas say so.

    mdx-c-consistent differs from mdx-c in its shares alone, as the tests above say. Segments are shorter than the
    released code's, so that a quarter of a second has five of them.
    """
    monkeypatch.setattr(published, "FRAMES", SMALL_FRAMES)
    monkeypatch.setattr(plan, "MAX_DELAY_SAMPLES", 1_000)  # below apply_model's half second, so it can follow
    segment_samples = 6_000 if name == "mdx-c-released" else None
    path = tmp_path / f"{name}.yaml"
    path.write_text((PRESETS_FOLDER / path.name).read_text().replace("1000000", str(segment_samples)))
    preset = load_preset(path)
    mixture = 0.1 * torch.randn(2, 10_001, generator=torch.Generator().manual_seed(1))
    theirs = Published(small_weights, CPU, published_offsets(preset), name, segment_samples)
    expected = theirs.mdx_c(mixture)
    rows = checkpoint_rows(preset)
    paths = {row.name: small_weights / row.file for row in rows}
    pool = ModelPool(rows, paths, Precision(CPU, torch.float32), needed_sources(preset))
    blocks = list(Ensemble(preset, pool).stream(reader(mixture), 2, mixture.shape[-1], block_samples=5_000))
    assert [start for start, _ in blocks] == [0, 5_000, 10_000]
    assert blocks[0][1].keys() == expected.keys()
    for stem, signal in expected.items():
        found = torch.cat([block[stem] for _, block in blocks], dim=-1)
        error = (found - signal).abs().max()
        assert error < 1e-5 * signal.abs().max(), f"{stem}: {error}"
