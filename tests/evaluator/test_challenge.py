"""Names of what is evaluated: a challenge, or any stems."""

import pytest

from evaluator.challenge import CINEMATIC, MUSIC, of_name, of_stems


def test_a_challenges_stems_are_the_challenge_in_any_order() -> None:
    assert of_stems(["vocals", "other", "drums", "bass"]) is MUSIC
    assert of_stems(CINEMATIC.stems) is CINEMATIC


@pytest.mark.parametrize(
    "stems",
    [
        ("vocals", "instrumental"),
        ("vocals",),
        ("music",),
        ("cinematic",),
        MUSIC.stems,
        (*MUSIC.stems, "piano"),
    ],
)
def test_a_name_stands_for_its_stems_and_no_others(stems: tuple[str, ...]) -> None:
    found = of_stems(stems)
    assert found.stems == tuple(sorted(stems))
    assert of_name(found.name) == found


@pytest.mark.parametrize(
    "name", ["film", "vocals,instrumental", "bass,drums,other,vocals", "a,b only", "", "vocals "]
)
def test_a_name_that_nothing_has(name: str) -> None:
    with pytest.raises(ValueError, match="^found .*, expected "):
        of_name(name)


@pytest.mark.parametrize("stem", ["../vocals", "mean", "mixture", "lead vocals", ""])
def test_stems_that_could_not_be_files_or_columns(stem: str) -> None:
    with pytest.raises(
        ValueError, match="expected names of letters, digits and underscores other than mean and mixt"
    ):
        of_stems(["vocals", stem])
