"""What the options leave open: track, preset, data to hide, where to put the run."""

from dataclasses import replace
from pathlib import Path

import pytest

from evaluator.commands.evaluate import main
from evaluator.isolation.sandbox import Limits
from evaluator.running import dataset, preparation
from evaluator.running.evaluation import evaluate
from evaluator.running.job import Observer
from evaluator.running.options import Options, UsageError
from evaluator.running.preparation import hidden_paths, prepare
from evaluator.running.submission import identify
from evaluator.runs import results
from tests.evaluator import audio
from tests.evaluator.submissions import write_submission

PRESET_CONFIG = """
import os
PRESET = os.environ.get("SDX_PRESET", "mdx-demo")
class MySeparationModel:
    track = "cinematic" if PRESET.startswith("cdx") else "" if PRESET == "two" else "music"
    stems = ("vocals", "instrumental")
"""


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Demo data of both tracks in place of the repository's."""
    audio.write_music(tmp_path / "demo" / "music", {"song": 100})
    audio.write_cinematic(tmp_path / "demo" / "cinematic", ("film",), 100)
    monkeypatch.setattr(preparation, "DEMO", tmp_path / "demo")
    monkeypatch.setattr(preparation, "RUNS", tmp_path / "runs")
    monkeypatch.delenv("SDX_PRESET", raising=False)
    return tmp_path / "demo"


@pytest.fixture
def with_presets(tmp_path: Path) -> Path:
    """A submission whose track depends on its preset, as ours does."""
    (tmp_path / "ours" / "my_submission").mkdir(parents=True)
    (tmp_path / "ours" / "my_submission" / "user_config.py").write_text(PRESET_CONFIG)
    return tmp_path / "ours"


def chosen(options: Options) -> tuple[str, str | None, str]:
    """Track, preset, and the first data track of the job."""
    job = prepare(options)
    assert job.plan.submission is not None
    return job.plan.challenge, job.plan.submission.requested_preset, job.dataset.tracks[0].name


@pytest.mark.thorough
def test_the_configured_preset_decides(demo: Path, with_presets: Path) -> None:
    assert chosen(Options(with_presets)) == ("music", None, "song")
    assert chosen(Options(with_presets, preset="cdx-b")) == ("cinematic", "cdx-b", "film")


@pytest.mark.thorough
def test_the_other_track_takes_its_own_preset_and_demo(demo: Path, with_presets: Path) -> None:
    assert chosen(Options(with_presets, challenge="cinematic")) == ("cinematic", "cdx-demo", "film")
    assert chosen(Options(with_presets, data=demo / "cinematic")) == ("cinematic", "cdx-demo", "film")
    assert chosen(Options(with_presets, challenge="music")) == ("music", None, "song")


@pytest.mark.thorough
def test_contradictions_are_refused(demo: Path, with_presets: Path) -> None:
    with pytest.raises(UsageError, match="--preset cdx-b is for the cinematic challenge, not for music"):
        prepare(Options(with_presets, preset="cdx-b", challenge="music"))
    with pytest.raises(UsageError, match=r"--challenge music, but .* holds cinematic tracks"):
        prepare(Options(with_presets, challenge="music", data=demo / "cinematic"))


@pytest.mark.thorough
def test_a_preset_of_other_stems(demo: Path, with_presets: Path, tmp_path: Path) -> None:
    stems = audio.write_stems(tmp_path / "stems", ("instrumental", "piano", "vocals"))
    assert chosen(Options(with_presets, preset="two", data=stems)) == ("instrumental,vocals", "two", "one")
    job = prepare(Options(with_presets, preset="two", data=stems))
    assert set(job.dataset.tracks[0].references) == {"instrumental", "vocals"}
    asked = Options(with_presets, preset="two", data=stems, challenge="instrumental,vocals")
    assert prepare(asked).plan == job.plan


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"preset": "two", "data": "music"},
            "--preset two is for the stems instrumental, vocals, but .* holds music",
        ),
        (
            {"preset": "two", "challenge": "music"},
            "--preset two is for the stems instrumental, vocals, not for music",
        ),
        (
            {"data": "stems"},
            "holds tracks with instrumental, vocals, which are no challenge's stems; give a --preset",
        ),
        (
            {"challenge": "vocals only", "data": "stems"},
            "is for the music challenge; give a --preset for the stem voc",
        ),
        (
            {"challenge": "instrumental,vocals", "data": "music"},
            "--stems instrumental,vocals, but .* holds music",
        ),
    ],
)
def test_stems_that_do_not_fit_are_one_sentence(
    demo: Path, with_presets: Path, options: dict[str, str], message: str
) -> None:
    audio.write_stems(demo / "stems", ("instrumental", "vocals"))
    given = options | ({"data": demo / options["data"]} if "data" in options else {})
    with pytest.raises(UsageError, match=message) as caught:
        prepare(Options(with_presets, **given))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.thorough
def test_why_a_submission_cannot_be_asked_is_said(demo: Path, with_presets: Path) -> None:
    config = with_presets / "my_submission" / "user_config.py"
    config.write_text(f'{PRESET_CONFIG}raise ValueError("no such preset")')
    with pytest.raises(UsageError, match="cannot be asked what it makes: ValueError: no such preset"):
        prepare(Options(with_presets, data=audio.write_stems(demo / "stems", ("instrumental", "vocals"))))
    with pytest.raises(
        UsageError, match="--preset misspelt: .* cannot be imported with it: ValueError: no such"
    ):
        prepare(Options(with_presets, preset="misspelt", challenge="music"))


def test_what_is_to_be_readable_is_there(demo: Path, with_presets: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--readable {tmp_path / 'gone'}: not found"):
        prepare(Options(with_presets, readable=(tmp_path, tmp_path / "gone")))


@pytest.mark.thorough
def test_a_submission_that_does_not_say_its_track(demo: Path, tmp_path: Path) -> None:
    path = write_submission(tmp_path, "perfect")
    with pytest.raises(UsageError, match="does not say which challenge it is for; give --challenge"):
        prepare(Options(path))
    (path / "aicrowd.json").write_text('{"challenge_id": "music-demixing-track-mdx-23"}')
    assert chosen(Options(path)) == ("music", None, "song")


def test_a_preset_file_is_named_in_full(
    demo: Path, with_presets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cdx-mine.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert chosen(Options(with_presets, preset="cdx-mine.yaml"))[1] == str(tmp_path / "cdx-mine.yaml")


@pytest.mark.thorough
def test_of_a_presets_folder_a_submission_sees_what_may_belong_to_it(
    demo: Path, with_presets: Path, tmp_path: Path
) -> None:
    """The folder may hold the submission itself, its history, other runs and the data."""
    preset = tmp_path / "mine" / "preset.yaml"
    preset.parent.mkdir()
    for name in ("preset.yaml", "manifest.yml", "a.onnx", "notes.txt", ".git/config", "runs/a/bass.wav"):
        (preset.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (preset.parent / name).write_text("")
    (with_presets / "my_submission" / "user_config.py").write_text(
        f"{PRESET_CONFIG}\nfrom pathlib import Path\n"
        "files = [path for path in Path(PRESET).parent.rglob('*') if path.is_file()]\n"
        "raise RuntimeError(' '.join(sorted(path.name for path in files)))\n"
    )
    with pytest.raises(UsageError, match=r"RuntimeError: a.onnx manifest.yml preset.yaml\)$"):
        prepare(Options(with_presets, preset=str(preset)))


def test_of_links_that_lead_out_of_sight_the_user_is_told(
    demo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_submission(tmp_path, "perfect")
    (tmp_path / "weights").mkdir()
    (path / "weights").symlink_to("../weights")
    (path / "circle").symlink_to("circle")
    (path / "inside").symlink_to("my_submission")
    prepare(Options(path, data=demo / "music"))
    assert [record.getMessage() for record in caplog.records] == [
        "what lies elsewhere is not there for the submission, unless --readable names it: "
        f"{path / 'weights'} leads to {tmp_path / 'weights'}"
    ]
    caplog.clear()
    (tmp_path / "other name").symlink_to("weights")
    prepare(Options(path, data=demo / "music", readable=(tmp_path / "other name",)))
    assert caplog.records == []


def test_what_a_container_cannot_be_shown_is_refused(demo: Path, tmp_path: Path) -> None:
    path = write_submission(tmp_path, "perfect")
    options = Options(path, data=demo / "music", runner="docker", readable=(tmp_path,))
    with pytest.raises(UsageError, match=rf"--readable is for --runner process.*copy {tmp_path}"):
        prepare(options)


def test_the_data_is_hidden_as_a_whole_and_file_by_file(tmp_path: Path) -> None:
    """The folder, those of its tracks, and each reference: whichever of them lies in what a submission sees."""
    data = dataset.load(audio.write_music(tmp_path / "data", {"a": 100, "b": 100}))
    hidden = hidden_paths(data)
    assert {tmp_path / "data", tmp_path / "data" / "a", tmp_path / "data" / "b"} <= set(hidden)
    assert {path for track in data.tracks for path in track.references.values()} <= set(hidden)
    assert all(path.is_relative_to(tmp_path / "data") for path in hidden)


def test_references_that_are_links_are_hidden_where_they_are(tmp_path: Path) -> None:
    audio.write_music(tmp_path / "data", {"a": 100})
    bass = tmp_path / "data" / "a" / "bass.wav"
    bass.rename(tmp_path / "real.wav")
    bass.symlink_to(tmp_path / "real.wav")
    data = dataset.load(tmp_path / "data")
    assert {tmp_path / "data", tmp_path / "real.wav"} <= set(hidden_paths(data))


@pytest.mark.thorough
def test_fit_tells_a_submission_that_listens_the_time_factor(demo: Path, with_presets: Path) -> None:
    with pytest.raises(UsageError, match="--fit: nothing in .*my_submission reads SDX_TIME_LIMIT_FACTOR"):
        prepare(Options(with_presets, fit=True))
    config = with_presets / "my_submission" / "user_config.py"
    config.write_text(f'{PRESET_CONFIG}LIMIT = os.environ.get("SDX_TIME_LIMIT_FACTOR", "")\n')
    told = prepare(Options(with_presets, fit=True, limits=Limits(time_factor=0.5)))
    untold = prepare(Options(with_presets))
    assert told.plan.submission is not None
    assert untold.plan.submission is not None
    assert told.plan.submission.requested_time_factor == 0.5
    assert untold.plan.submission.requested_time_factor is None
    with pytest.raises(UsageError, match="--fit plans to fit a time limit, and --no-limits sets none"):
        prepare(Options(with_presets, fit=True, limits=Limits(time_factor=None)))


@pytest.mark.thorough
def test_late_tracks_of_the_demo_are_scored_and_the_users_own_are_ended(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a slow machine fails nobody's first trial. No track is done in a millionth of its duration."""
    submission = write_submission(tmp_path, "perfect")
    limits = Limits(time_factor=1e-6, grace_seconds=0.1)
    own = prepare(Options(submission, data=demo / "music", limits=limits))
    assert [track.status for track in evaluate(own, Observer(), resume=False).tracks] == ["timeout"]
    monkeypatch.setattr(preparation, "DEMO_PATIENCE", 1e12)
    arguments = ["--submission", str(submission), "--track", "music", "--time-factor", "0.000001"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[2].split()[:2] == ["song", "late"]
    assert "1 of 1 took longer than allowed" in printed
    assert "would not pass" in printed


def test_the_identity_changes_with_the_code(tmp_path: Path) -> None:
    path = write_submission(tmp_path, "perfect")
    before = identify(path, None)
    assert (before.commit, before.dirty) == (None, None)
    (path / "my_submission" / "extra.py").write_text("")
    assert identify(path, None).files_sha256 != before.files_sha256


@pytest.mark.thorough
def test_resume_without_out_finds_the_newest_unfinished_run_of_the_same_plan(
    demo: Path, tmp_path: Path
) -> None:
    submission = write_submission(tmp_path, "perfect")
    options = Options(submission, data=demo / "music")
    resumed = Options(submission, data=demo / "music", resume=True)
    with pytest.raises(UsageError, match="--resume: no interrupted run with these settings"):
        prepare(resumed)
    job = prepare(options)
    finished = evaluate(job, Observer(), resume=False)
    with pytest.raises(UsageError, match="--resume: no interrupted run"):
        prepare(resumed)
    results.write(job.out / "result.json", replace(finished, tracks=()).to_json())
    assert prepare(resumed).out == job.out


@pytest.mark.thorough
def test_estimates_are_not_kept_without_out(demo: Path, tmp_path: Path) -> None:
    limits = Limits(time_factor=1e5)  # of a very short track
    job = prepare(Options(write_submission(tmp_path, "perfect"), data=demo / "music", limits=limits))
    result = evaluate(job, Observer(), resume=False)
    assert result.status == "ok"
    assert sorted(path.name for path in job.out.iterdir()) == ["logs", "result.json", "setup.log"]
