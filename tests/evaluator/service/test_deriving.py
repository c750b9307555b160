"""The instrumental of an entry that has none, where its author asks for it."""

from pathlib import Path

import pytest

from tests.evaluator import audio
from tests.evaluator.service.world import World, sound

FRAMES = 20000  # of audio.write_stems


def uploads(levels: dict[str, float]) -> dict[str, bytes]:
    """Each stem of its two tracks, where all stems are alike, times a level."""
    return {
        f"{track}_{stem}.wav": sound(level * audio.noise(FRAMES, seed=seed))
        for seed, track in enumerate(("one", "two"))
        for stem, level in levels.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stems", "levels"),
    [
        (("instrumental", "vocals"), {"vocals": 0.9}),  # 2 s - 0.9 s
        (("bass", "drums", "instrumental"), {"bass": 0.6, "drums": 0.5}),  # their sum
    ],
)
def test_it_is_the_mixture_minus_vocals_or_the_sum_of_the_others(
    world: World, tmp_path: Path, stems: tuple[str, ...], levels: dict[str, float]
) -> None:
    world.add("derived", audio.write_stems(tmp_path / "more", stems), stems=stems, is_open=True)
    files = uploads(levels)
    number = world.scored("ann", files, "derived", derives_instrumental=True, visibility="public")
    found = world.show("ann", number)
    assert found["stems"] == sorted(stems)
    scores = found["means"]["public"]["sdr"]
    assert scores["instrumental"] == pytest.approx(20, abs=0.011), "the reference times 1.1"
    assert scores["mean"] is not None, "all stems are there"
    page = world.browser().get(f"/entries/{number}").text
    assert "derived here where none was uploaded" in page
    world.program("ann").patch(f"/api/v1/entries/{number}", json={"name": "another"})
    assert world.show("ann", number)["derives_instrumental"], "it stays as it was submitted"
    without = world.show("ann", world.scored("ann", files, "derived"))
    assert without["stems"] == sorted(levels), "nothing is derived unasked"
    assert "instrumental" not in without["means"]["public"]["sdr"]


@pytest.mark.thorough
def test_what_was_uploaded_is_not_derived(world: World, tmp_path: Path) -> None:
    stems = ("instrumental", "vocals")
    world.add("derived", audio.write_stems(tmp_path / "more", stems), stems=stems)
    files = uploads({"vocals": 0.9, "instrumental": 0.5})
    found = world.show("ann", world.scored("ann", files, "derived", derives_instrumental=True))
    assert found["means"]["public"]["sdr"]["instrumental"] == pytest.approx(6.02, abs=0.011)
