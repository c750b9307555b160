"""The report page without a browser: what it says, what it holds, and that it asks for nothing."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from markupsafe import escape

from evaluator import __main__
from evaluator.challenge import MUSIC
from evaluator.measures import bootstrap
from evaluator.reporting import report, track_details
from evaluator.running import dataset
from evaluator.runs import entries, published, run_scores
from evaluator.runs.documents import ResultError
from evaluator.runs.entries import Entry
from evaluator.runs.labels import Label
from evaluator.runs.results import Result
from sdx import pages as shared
from tests.evaluator import made_results, made_runs
from tests.evaluator.audio import RATE_HZ, noise, write_track

HOSTILE = "</script><img src=x onerror=alert(1)>"


def write(entry: Entry, folder: Path, before: Result | None = None, audio: str = "none") -> str:
    """The page of a run as text."""
    baseline = None if before is None else run_scores.of_result(before, "before.json")
    report.write(folder / "page.html", report.gather(entry, baseline, 0.02), audio)
    return (folder / "page.html").read_text(encoding="utf-8")


def without_files(tracks: dict[str, made_results.Given], **options: Any) -> Entry:
    return entries.make_entry(made_results.result(tracks, **options), None)


def details(page: str) -> list[dict[str, Any]]:
    """The data of each track's details."""
    found = re.findall(r'<script type="application/json" id="data-\d+">(.*?)</script>', page, re.DOTALL)
    return [json.loads(text) for text in found]


class Tables(HTMLParser):
    """Counts what makes tables accessible."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = 0
        self.captions = 0
        self.headers_without_scope = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tables += tag == "table"
        self.captions += tag == "caption"
        self.headers_without_scope += tag == "th" and "scope" not in dict(attributes)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    return made_runs.make_run(tmp_path_factory.mktemp("report"), ("one",), 1.2)


@pytest.fixture(scope="module")
def page(run: Entry, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    text = write(run, folder, audio="all")
    assert [path.name for path in folder.iterdir()] == ["page.html"]
    return text


@pytest.mark.thorough
def test_audio_pictures_and_scores_are_in_the_page(page: str) -> None:
    (track,) = details(page)
    assert [stem["name"] for stem in track["stems"]] == ["bass", "drums", "other", "vocals"]
    for stem in track["stems"]:
        # each estimate holds three other sines at a tenth, 10·log10(1 / 0.03)
        assert stem["sdr"] == pytest.approx([15.23], abs=0.02)
        assert base64.b64decode(stem["error"]["spectrogram"]).startswith(b"\x89PNG")
    assert set(track["audio"]) == {"mixture", "residual"} | {
        f"{stem}/{kind}" for stem in made_runs.PITCHES_HZ for kind in ("reference", "estimate", "error")
    }


@pytest.mark.parametrize(
    ("name", "level"),
    [("bass/reference", 0.2), ("bass/error", 0.02 * 3**0.5), ("mixture", 0.4), ("residual", 0.12)],
)
def test_the_audio_is_what_it_says(page: str, name: str, level: float) -> None:
    (track,) = details(page)
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(track["audio"][name])))
    assert (rate_hz, samples.shape) == (RATE_HZ, (int(1.2 * RATE_HZ), 2))
    assert np.sqrt((samples**2).mean()) == pytest.approx(level / 2**0.5, rel=0.05)


@pytest.mark.thorough
def test_large_audio_goes_beside_the_page(
    run: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "INLINE_BYTES", 0)
    page = write(run, tmp_path, audio="all")
    assert details(page) == []
    assert 'data-file="000.js"' in page
    track = beside(tmp_path / "page_audio" / "000.js")
    names = {path.name for path in (tmp_path / "page_audio").iterdir()}
    assert names == {*track["audio"].values(), "000.js"}
    assert track["scores"] is not None
    script = (tmp_path / "page_audio" / track["audio"]["mixture"]).read_text()
    assert re.fullmatch(r'sdxAudio\("000-mixture\.js", "[A-Za-z0-9+/=]+"\);\n', script)


def beside(script: Path) -> dict[str, Any]:
    """The details of a track in a file beside the page."""
    call = script.read_text().strip()
    name, text = json.loads(f"[{call.removeprefix('sdxAudio(').removesuffix(');')}]")
    assert name == script.name
    found: dict[str, Any] = json.loads(base64.b64decode(text))
    return found


@pytest.mark.thorough
def test_excerpts_are_the_worst_and_the_median_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = made_runs.make_run(tmp_path, ("a",), 31.0)
    track = Path(str(entry.folder)) / "estimates" / "a"
    samples, rate = soundfile.read(track / "bass.wav")
    samples[3 * rate : 8 * rate] *= 0.5  # the worst seconds of the bass alone
    soundfile.write(track / "bass.wav", samples, rate)
    monkeypatch.setattr(report, "INLINE_BYTES", 0)
    write(entry, tmp_path, audio="excerpts")
    folder = tmp_path / "page_audio"
    found = beside(folder / "000.js")
    assert found["audio"] == {}
    worst, median = [each for each in found["excerpts"] if each["stem"] == "bass"]
    assert (worst["kind"], median["kind"]) == ("worst", "median")
    assert worst["start"] <= 3
    assert worst["start"] + worst["seconds"] >= 8
    assert worst["sdr"] < median["sdr"] - 3
    for each in found["excerpts"]:
        assert set(each["audio"]) == {
            "mixture",
            *(f"{each['stem']}/{s}" for s in ("reference", "estimate", "error")),
        }
        assert all((folder / file).is_file() for file in each["audio"].values())
    content = track_details.inline(found, folder)["excerpts"][0]["audio"]["bass/estimate"]
    heard, _ = soundfile.read(io.BytesIO(base64.b64decode(content)))
    first = worst["start"] * rate
    np.testing.assert_allclose(heard.std(), samples[first : first + 10 * rate].std(), rtol=0.05)


def test_small_runs_have_all_sound_and_large_ones_excerpts(
    run: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = report.gather(run, None, 0.02)
    assert report.audio_that_fits(sources) == "all"
    monkeypatch.setattr(report, "INLINE_BYTES", 1000)
    assert report.audio_that_fits(sources) == "excerpts"


@pytest.mark.thorough
def test_the_command_says_the_size_before_and_after(
    run: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "INLINE_BYTES", 0)
    page = tmp_path / "page.html"
    assert __main__.main(["report", str(run.folder), "--page", str(page)]) == 0
    before, after = capsys.readouterr().err.split("are in page_audio/ beside it")
    assert "The page with --audio excerpts will be about" in before
    assert "--audio all: about" in before
    assert "go with it where you move it" in after
    assert __main__.main(["report", str(run.folder), "--page", str(page), "--no-audio"]) == 0
    assert not list((tmp_path / "page_audio").glob("*-*.js"))


@pytest.mark.parametrize("name", ["my take.wav", "my take.ogg", "000"])
def test_a_folder_of_somebody_else_beside_the_page_stays(run: Entry, tmp_path: Path, name: str) -> None:
    takes = tmp_path / "page_audio"
    takes.mkdir()
    (takes / name).write_bytes(b"mine")
    assert __main__.main(["report", str(run.folder), "--page", str(tmp_path / "page.html")]) == 2
    assert (takes / name).read_bytes() == b"mine"


def test_a_link_in_place_of_the_folder_beside_the_page_stays(
    run: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "of another").mkdir()
    (tmp_path / "of another" / "000.js").write_bytes(b"sound")
    (tmp_path / "page_audio").symlink_to(tmp_path / "of another")
    assert __main__.main(["report", str(run.folder), "--page", str(tmp_path / "page.html")]) == 2
    assert "page_audio: is no folder of a page's sound" in capsys.readouterr().err
    assert (tmp_path / "of another" / "000.js").read_bytes() == b"sound"


@pytest.mark.thorough
@pytest.mark.parametrize("audio", report.AUDIO)
def test_the_size_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audio: str) -> None:
    """Of noise, which takes about what music takes: no less than half of the forecast, and not much more than it."""
    data = tmp_path / "data"
    stems = {stem: noise(25 * RATE_HZ, seed=seed) for seed, stem in enumerate(MUSIC.stems)}
    write_track(data / "a", {**stems, "mixture": np.sum(list(stems.values()), axis=0)})
    estimates = tmp_path / "run" / "estimates"
    write_track(estimates / "a", {stem: signal * 0.8 for stem, signal in stems.items()})
    tracks = dataset.load(data).tracks
    made = entries.make_entry(made_results.result({"a": 3.0}), tmp_path / "run")
    sources = report.gather(made, None, 0.02, tracks)
    monkeypatch.setattr(report, "INLINE_BYTES", 0)
    report.write(tmp_path / "page.html", sources, audio)
    written = sum(file.stat().st_size for file in (tmp_path / "page_audio").iterdir())
    assert 0.4 < written / report.forecast_bytes(sources, audio) < 1.3


def test_without_audio(run: Entry, tmp_path: Path) -> None:
    (track,) = details(write(run, tmp_path))
    assert track["audio"] == {}


@pytest.mark.thorough
def test_what_a_submission_says_is_text_and_nothing_else(tmp_path: Path) -> None:
    entry = made_runs.make_run(tmp_path, ("a <b>name",), 0.6, log=HOSTILE)
    said = {"preset": HOSTILE, "device": HOSTILE, "economies": [HOSTILE]}
    page = write(replace(entry, result=replace(entry.result, provenance=said)), tmp_path)
    assert "<img" not in page
    assert "<b>name" not in page
    assert "&lt;/script&gt;&lt;img src=x" in page


def test_the_page_refers_to_nothing_outside(page: str) -> None:
    text = re.sub(r'id="data-\d+">.*?</script>', "", page, flags=re.DOTALL)
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text)
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r'(?:src|href)="([^#"]*)', text)) <= {"data:,", ""}


@pytest.mark.thorough
def test_tables_have_captions_and_their_headings_scopes(run: Entry, tmp_path: Path) -> None:
    tables = Tables()
    tables.feed(write(run, tmp_path, run.result))
    assert tables.tables == tables.captions == 4
    assert tables.headers_without_scope == 0


def test_a_run_without_estimates_still_has_a_page(tmp_path: Path) -> None:
    page = write(without_files({"a": 1.0, "b": "crashed"}), tmp_path)
    assert "its estimates were not kept" in page
    assert "b: crashed, for a test" in page
    assert "no track worked" in write(without_files({"a": "crashed"}), tmp_path)


def test_there_is_no_headline_score_unless_every_track_worked(tmp_path: Path) -> None:
    headline = re.compile(r"<dt>mean SDR</dt><dd>(.*?)</dd>")
    whole = headline.search(write(without_files({"a": 1.0, "b": 2.0}), tmp_path))
    part = headline.search(write(without_files({"a": 1.0, "b": "crashed"}), tmp_path))
    assert whole is not None
    assert "1.50" in whole[1]
    assert part is not None
    assert not re.search(r"\d", part[1])


def test_data_that_changed_since_is_not_shown_as_the_reference(tmp_path: Path) -> None:
    entry = made_runs.make_run(tmp_path, ("one",), 0.6)
    made_runs.write_data(tmp_path / "data", ("one",), 0.7)
    page = write(entry, tmp_path)
    assert "changed since the run" in page
    assert details(page) == []


def test_against_a_baseline(tmp_path: Path) -> None:
    page = write(without_files({"a": 1.0}), tmp_path, made_results.result({"a": 3.0}))
    assert "REGRESSION against before.json" in page
    assert "−2.000" in page
    with pytest.raises(ResultError, match="different data"):
        write(without_files({"a": 1.0}), tmp_path, made_results.result({"a": 3.0}, data_hash="e" * 64))


def test_published_rows_are_marked(tmp_path: Path) -> None:
    page = write(without_files({"a": 1.0}), tmp_path)
    sets = [found for found in published.load() if found.challenge == "music"]
    assert page.count("Published, on other data") == len(sets)
    assert all(escape(found.measure) in page for found in sets)
    assert "JusperLee" not in page


@pytest.mark.thorough
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = made_runs.make_run(tmp_path, ("one",), 0.6)
    assert __main__.main(["report", str(entry.folder)]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == tmp_path / "run" / "report.html"
    assert len(details(page.read_text())) == 1


def test_tracks_of_a_subset_are_found_again(tmp_path: Path) -> None:
    entry = made_runs.make_run(tmp_path, ("one",), 0.6)
    made_runs.write_data(tmp_path / "data", ("another",), 0.6)
    assert report.gather(entry, None, 0.02).missing is None
    (tmp_path / "data" / "one" / "bass.wav").unlink()
    assert "bass.wav" in str(report.gather(entry, None, 0.02).missing)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_in_both_themes(theme: int) -> None:
    style = shared.read("style.css")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for ground in ("page", "card", "shade"):
        for ink in ("text", "soft", "accent", "good", "bad", "unsure"):
            high, low = sorted((luminance(colours[ground]), luminance(colours[ink])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{ink} on {ground}"


def test_groups_of_the_data_have_a_table_and_a_damaged_file_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = made_results.result({"a": 1.0, "b": 3.0})
    result = replace(result, plan=replace(result.plan, data=replace(result.plan.data, path=str(tmp_path))))
    entry = entries.make_entry(result, None)
    (tmp_path / "groups.csv").write_text("track,genre\na,<b>rock\nb,pop\n")
    page = write(entry, tmp_path, result)
    assert (
        '<td class="text">&lt;b&gt;rock</td><td data-value="1">1</td><td data-value="1.00">1.00</td>' in page
    )
    (tmp_path / "groups.csv").write_text("track\n")
    assert "Groups of tracks" not in write(entry, tmp_path, result)
    assert "groups.csv: has the column track alone" in caplog.text


def test_names_notes_and_why_are_on_the_page(tmp_path: Path) -> None:
    result = replace(
        made_results.result({"a": 1.0, "b": "crashed"}), label=Label("<b>ours", "A <i>note", ("tag<",))
    )
    result = replace(result, tracks=tuple(replace(track, last_line="Killed") for track in result.tracks))
    page = write(entries.make_entry(result, None), tmp_path, result)
    assert all(text in page for text in ("&lt;b&gt;ours on", "A &lt;i&gt;note", "tag&lt;</span>"))
    assert "for a test; its log ends: Killed</td>" in page


def test_enough_tracks_have_an_interval(tmp_path: Path) -> None:
    result = made_results.result({f"t{i}": float(i) for i in range(8)})
    low, high = bootstrap.interval([float(i) for i in range(8)])
    page = write(entries.make_entry(result, None), tmp_path, result)
    assert page.count(f"<td>{low:.2f} to {high:.2f}</td>") == 5
