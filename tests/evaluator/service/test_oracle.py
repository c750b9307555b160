"""Hidden references do not leak through scores: the attack that is known, played through the service by HTTP.

10^(−SDR/10) is quadratic in the estimate, so scores tell inner products of the reference with whatever the attacker
adds (Blum & Hardt 2015, arXiv 1502.04585; Whitehill 2017, arXiv 1707.01825). The attacker here owns an estimate whose
loudness is wrong in every part of every track. They change all parts at random, see by the scores which way is
better, go that way as far as the score goes up, and so use up what one account may have. What the service itself does
to their files is done in this process, since a sandbox for each would take minutes.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.service import benchmarks
from evaluator.service.settings import DAY_SECONDS
from tests.evaluator import audio
from tests.evaluator.service.world import PASSWORD, World, sound, zipped

Signals = NDArray[np.float64]
TRACKS, PARTS, FRAMES = 8, 64, 2048
SCORES_IN_ALL, SCORES_A_DAY = 100, 5  # the defaults
STEPS = 15  # of the scores, to go the way that the others have shown
PROBE = 0.2  # of a part's loudness


class Attack:
    """What the attacker has: estimates, and a way to change the loudness of each part of them."""

    def __init__(self) -> None:
        chance = np.random.default_rng(0)
        self.references = 0.05 * chance.standard_normal((TRACKS, FRAMES))
        loudness = self._spread(chance.uniform(-0.6, 0.6, (TRACKS, PARTS)))
        self.honest = loudness * self.references + 0.025 * chance.standard_normal((TRACKS, FRAMES))
        self.probes = chance.choice([-PROBE, PROBE], (SCORES_IN_ALL - STEPS - 1, TRACKS, PARTS))

    def _spread(self, change: Signals) -> Signals:
        """1 + a change of each part, for every sample."""
        return 1 + change.repeat(FRAMES // PARTS, axis=1)

    def estimates(self, change: Signals) -> Signals:
        """The estimates with each part louder by so much."""
        return self._spread(change) * self.honest

    def sdr(self, change: Signals) -> Signals:
        """The true score of each track, in dB."""
        error = ((self.references - self.estimates(change)) ** 2).sum(axis=1)
        return np.asarray(10 * np.log10((self.references**2).sum(axis=1) / error), dtype=float)

    def best_by_mean(self, shown: Callable[[Signals], float]) -> Signals:
        """The change that a mean over tracks leads to; shown: what one sees of it, by a change."""
        found = np.zeros((TRACKS, PARTS))
        best = shown(found)
        scores = np.array([shown(probe) for probe in self.probes])
        slope = np.einsum("k,ktp->tp", scores - scores.mean(), self.probes)
        slope /= np.abs(slope).max() + 1e-12
        for step in np.geomspace(0.02, 1.5, STEPS):
            change = np.clip(step * slope, -0.9, 2)
            if (score := shown(change)) > best:
                found, best = change, score
        return found

    def best_by_tracks(self, decimals: int) -> Signals:
        """The change that as many scores of each track would lead to, by one linear equation each: the best one."""
        energy = (self.references**2).sum(axis=1)
        own = (self.honest.reshape(TRACKS, PARTS, -1) ** 2).sum(axis=2)

        def error(change: Signals) -> Signals:
            return np.asarray(energy * 10 ** (-np.round(self.sdr(change), decimals) / 10), dtype=float)

        known = error(np.zeros((TRACKS, PARTS))) + PROBE**2 * own.sum(axis=1)
        told = np.array([error(probe) for probe in self.probes]) - known
        slopes = [np.linalg.lstsq(2 * self.probes[:, track], told[:, track])[0] for track in range(TRACKS)]
        return np.asarray(-np.array(slopes) / own, dtype=float)


@pytest.fixture
def attack(world: World, tmp_path: Path, judged_here: None) -> Attack:
    """The attacker, and a hidden benchmark with the default rules."""
    made = Attack()
    for number, reference in enumerate(made.references):
        stem = np.stack([reference, reference], axis=1)
        files = {"bass": stem, "drums": stem, "other": stem, "vocals": stem, "mixture": 4 * stem}
        audio.write_track(tmp_path / "hidden" / f"{number:02d}", files)
        made.references[number] = np.round(32768 * reference) / 32768  # as the file has it
    world.add("hidden", tmp_path / "hidden", private_share=0.5, closes=world.now() + 1000 * DAY_SECONDS)
    return made


def submitted(world: World, estimates: Signals) -> int:
    """An entry of the attacker's that was scored."""
    files = {
        f"{number:02d}_bass.wav": sound(np.stack([each, each], axis=1), subtype="FLOAT")
        for number, each in enumerate(estimates)
    }
    return world.scored("eve", {"all.zip": zipped(files, 0)}, "hidden", visibility="public")


@pytest.mark.slow
def test_all_the_scores_that_one_may_have_tell_little_and_nothing_of_the_private_part(
    world: World, attack: Attack
) -> None:
    if not world.database.is_sqlite:
        pytest.skip("the scores are the same with every database")
    asked = 0

    def shown(change: Signals) -> float:
        """The number that the attacker sees."""
        nonlocal asked
        if asked and asked % SCORES_A_DAY == 0:
            assert "within a day" in refusal(world)
            world.seconds += DAY_SECONDS + 1
        asked += 1
        means = world.show("eve", submitted(world, attack.estimates(change)))["means"]
        assert set(means) == {"public"}
        return float(means["public"]["sdr"]["bass"])

    found = attack.best_by_mean(shown)
    assert asked == SCORES_IN_ALL
    world.seconds += DAY_SECONDS + 1
    assert "which is all there is" in refusal(world)

    with world.database.reading() as session:
        parts = np.array([track["part"] for track in benchmarks.named(session, "hidden").tracks])
    gain = attack.sdr(found) - attack.sdr(np.zeros_like(found))
    would_gain = attack.sdr(attack.best_by_tracks(2)) - attack.sdr(np.zeros_like(found))
    assert would_gain.mean() > 1.5, "were scores of tracks shown, the attack would be a real one"
    assert gain[parts == "public"].mean() < 0.6
    assert gain[parts == "private"].mean() < 0.05, "which decides"

    world.token("olga", "organiser")
    page = world.signed_in("olga").get("/organiser").text
    rows = [row for row in page.split("<tr") if ">eve<" in row and "hidden, sdr" in row]
    assert [f">{SCORES_IN_ALL}<" in row for row in rows] == [True], (
        "the organiser sees who has asked for so many"
    )


def refusal(world: World) -> str:
    """What the attacker is told when they ask for one score more."""
    entry = world.uploaded("eve", {"all.zip": zipped({"00_bass.wav": b"x" * 100})}, benchmark="hidden")
    answer = world.submit("eve", entry)
    assert answer.status_code == 429
    world.program("eve").delete(f"/api/v1/entries/{entry}")
    return str(answer.json()["error"])


def test_nothing_that_is_shown_has_a_third_decimal_or_a_track(world: World, attack: Attack) -> None:
    world.token("eve")
    entry = submitted(world, attack.honest)
    browser = world.browser()
    browser.post("/sign-in", data={"name": "eve", "password": PASSWORD})
    for path in (
        f"/api/v1/entries/{entry}",
        "/api/v1/entries",
        "/api/v1/queue",
        "/api/v1/benchmarks/hidden",
        "/api/v1/leaderboards/hidden?stem=bass",
        "/api/v1/leaderboards/hidden/export/csv",
        "/api/v1/leaderboards/hidden/export/latex",
        f"/api/quality_checker/entry?id={entry}",
        f"/entries/{entry}",
        "/benchmarks/hidden?stem=bass",
        "/account",
    ):
        answer = browser.get(path)
        assert answer.status_code == 200, path
        text = re.sub(r"<svg.*?</svg>", "", answer.text, flags=re.DOTALL)
        assert not re.search(r"\d\.\d{3}", text), path
        if path != "/api/v1/benchmarks/hidden":
            assert "05_bass" not in text, path
            assert not re.search(r"\b05\b.{0,40}\d\.\d\d", text, re.DOTALL), path
    for path in (f"/entries/{entry}/tracks/0/mixture.png", f"/entries/{entry}/tracks/0/bass-reference.ogg"):
        assert browser.get(path).status_code == 404


@pytest.mark.thorough
def test_the_order_of_a_board_and_its_ties_tell_no_more_than_its_numbers(
    world: World, attack: Attack
) -> None:
    """Estimates that differ in the third decimal share a place, whichever came first."""
    quieter = np.full((TRACKS, PARTS), -1e-4)
    first, second = submitted(world, attack.estimates(quieter)), submitted(world, attack.honest)
    rows = world.program(None).get("/api/v1/leaderboards/hidden?stem=bass").json()["rows"]
    assert [(row["place"], row["entry"]) for row in rows] == [(1, first), (1, second)]
    assert rows[0]["interval"] is rows[0]["group"] is None
    assert attack.sdr(quieter).mean() != attack.sdr(0 * quieter).mean()
