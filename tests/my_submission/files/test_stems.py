"""Which stems are wanted: names, derived stems, sums."""

import pytest
import torch

from my_submission.files.stems import derive, parse_stems, two_stems

pytestmark = pytest.mark.quick

MUSIC = ["bass", "drums", "other", "vocals"]


def test_nothing_asked_for_means_the_tracks_own_stems() -> None:
    assert parse_stems((), MUSIC) == {stem: {stem: 1} for stem in MUSIC}


@pytest.mark.parametrize(
    ("text", "name", "terms"),
    [
        ("vocals", "vocals", {"vocals": 1}),
        ("instrumental", "instrumental", {"mixture": 1, "vocals": -1}),
        ("karaoke", "karaoke", {"mixture": 1, "vocals": -1}),
        ("no_vocals", "no_vocals", {"mixture": 1, "vocals": -1}),
        ("no_drums", "no_drums", {"mixture": 1, "drums": -1}),
        ("drums+bass", "drums+bass", {"drums": 1, "bass": 1}),
        ("backing = mixture - vocals - drums", "backing", {"mixture": 1, "vocals": -1, "drums": -1}),
        ("inverted=-vocals", "inverted", {"vocals": -1}),
        ("quiet=mixture−vocals", "quiet", {"mixture": 1, "vocals": -1}),
        ("mixture", "mixture", {"mixture": 1}),
    ],
)
def test_sums(text: str, name: str, terms: dict[str, int]) -> None:
    assert parse_stems([text], MUSIC) == {name: terms}


def test_the_voice_of_a_film_is_its_dialog() -> None:
    assert parse_stems(["instrumental"], ["dialog", "effect", "music"]) == {
        "instrumental": {"mixture": 1, "dialog": -1}
    }


@pytest.mark.parametrize(
    ("stem", "instruments", "names"),
    [
        ("vocals", MUSIC, ["vocals", "instrumental"]),
        ("drums", MUSIC, ["drums", "no_drums"]),
        ("dialog", ["dialog", "effect", "music"], ["dialog", "instrumental"]),
        ("vocals", ["vocals", "instrumental"], ["vocals", "instrumental"]),
    ],
)
def test_a_stem_and_the_rest(stem: str, instruments: list[str], names: list[str]) -> None:
    sums = parse_stems(two_stems(stem, instruments), instruments)
    assert list(sums) == names
    rest = {"instrumental": 1} if "instrumental" in instruments else {"mixture": 1, stem: -1}
    assert list(sums.values()) == [{stem: 1}, rest]


def test_a_stem_that_is_not_there_has_no_rest() -> None:
    with pytest.raises(ValueError, match="found 'guitar'"):
        parse_stems(two_stems("guitar", MUSIC), MUSIC)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            ["vocal"],
            "found 'vocal' in 'vocal' .did you mean 'vocals'.*allowed: bass, drums, other, vocals, mixture",
        ),
        (["drums+piano"], "found 'piano'"),
        (["drums+drums"], "each once"),
        (["drums bass"], "expected a sum"),
        (["x=drums bass"], "expected a sum"),
        (["x=drums * 2"], "expected a sum"),
        (["drums+"], "expected a sum"),
        (["x=+"], "expected a sum"),
        (["vocals", "vocals"], "'vocals' is given twice"),
        (["../x=vocals"], "letters, digits"),
        ([""], "letters, digits"),
        (["=vocals"], "letters, digits"),
    ],
)
def test_wrong_stems(wanted: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_stems(wanted, MUSIC)


def test_deriving_sums_signals_and_leaves_single_stems_as_they_are() -> None:
    mixture = torch.randn(2, 100)
    estimates = {stem: torch.randn(2, 100) for stem in MUSIC}
    sums = parse_stems(["vocals", "instrumental", "x=drums-bass"], MUSIC)
    stems = derive(sums, estimates, mixture)
    assert list(stems) == ["vocals", "instrumental", "x"]
    assert torch.equal(stems["vocals"], estimates["vocals"])
    assert torch.equal(stems["instrumental"], mixture - estimates["vocals"])
    assert torch.equal(stems["x"], estimates["drums"] - estimates["bass"])
