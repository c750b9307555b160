"""Configurations: what is accepted comes back the same, what is not is named."""

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from my_submission import registry
from training.__main__ import main
from training.config import ConfigError, as_document, load_config, parse_config

pytestmark = pytest.mark.quick

CONFIGS = sorted(Path("training/configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid_and_named_after_their_file(path: Path) -> None:
    assert load_config(path).name == path.stem


@pytest.mark.parametrize("architecture", ["htdemucs", "mdx_net", "scnet", "bs_roformer"])
def test_a_configuration_survives_being_written_down(
    architecture: str, documents: dict[str, dict[str, Any]]
) -> None:
    config = parse_config(documents[architecture])
    assert parse_config(as_document(config)) == config


@pytest.mark.parametrize(
    ("section", "key", "value", "complaint"),
    [
        ("optimisation", "lr", 1, "optimisation: unknown key 'lr'; allowed: .*learning_rate"),
        ("optimisation", "steps", "many", "optimisation.steps: expected a whole number, found 'many'"),
        ("optimisation", "steps", 0, "optimisation.steps: expected 1 or more, found 0"),
        (
            "optimisation",
            "loss",
            "sdr",
            "optimisation.loss: found 'sdr'; allowed: l1, mse, relative_l1, rmse, spectral_l1",
        ),
        (
            "optimisation",
            "source_weights",
            {"other": 0},
            "source_weights.other: expected more than 0, found 0",
        ),
        ("optimisation", "source_weights", {"piano": 2}, "source_weights: expected some of .*found .'piano'"),
        ("augmentation", "gain_db", [3, -3], "augmentation.gain_db"),
        ("augmentation", "gain_db", [3], "augmentation.gain_db: expected 2 entries"),
        (
            "model",
            "architecture",
            "wavenet",
            "model.architecture: found 'wavenet'; allowed: bandit, bs_roformer, .*hdemucs, htdemucs",
        ),
        ("model", "arguments", {"chanels": 4}, "model.arguments: unknown key 'chanels'"),
        (
            "model",
            "arguments",
            {"nfft": 2**17},
            "model.arguments.nfft: expected from 16 to 65,536, found 131072",
        ),
        ("model", "sources", ["speech"], "model.sources: found 'speech', which is called 'dialog' here"),
        (
            "model",
            "sources",
            ["drums", "drums"],
            "model.sources: expected different names, none of them 'input'",
        ),
        (
            "model",
            "sources",
            ["drums", "input"],
            "model.sources: expected different names, none of them 'input'",
        ),
        ("model", "sources", ["drums", "piano"], "stems: expected the model's .*piano"),
    ],
)
def test_errors_name_the_key(
    section: str, key: str, value: Any, complaint: str, documents: dict[str, dict[str, Any]]
) -> None:
    document = documents["htdemucs"]
    with pytest.raises(ConfigError, match=complaint):
        parse_config({**document, section: {**document[section], key: value}})


@pytest.mark.parametrize(
    ("section", "key", "value", "complaint"),
    [
        ("", "name", "../up", "^name: expected a name of letters, digits, .* found '../up'"),
        ("", "name", "my@net", "^name: expected a name"),
        ("", "name", "", "^name: expected a name"),
        ("", "seed", -1, "^seed: expected 0 or more"),
        ("", "checkpoint_every", 0, "^checkpoint_every: expected 1 or more"),
        ("optimisation", "workers", -1, "^optimisation.workers: expected 0 or more"),
        ("optimisation", "betas", [0.9, 1], r"^optimisation.betas\[1\]: expected 0 to below 1"),
        ("optimisation", "final_share", -0.1, "^optimisation.final_share: expected 0 to 1"),
        ("validation", "seconds", 0, "^validation.seconds: expected more than 0"),
        ("validation", "overlap", 1, "^validation.overlap: expected a fraction from 0 to 0.99"),
        ("model", "n_fft", 2**17, "^model.n_fft: expected at most 65,536"),
        ("model", "hop", 513, "^model.hop: expected at most n_fft"),
        ("model", "hop", 8, "^model.dim_t: expected a chunk, .*longer than n_fft"),
    ],
)
def test_what_would_fail_later_is_refused(
    section: str, key: str, value: Any, complaint: str, documents: dict[str, dict[str, Any]]
) -> None:
    """In the middle of a run, when its folder or file is made, or when the checkpoint is opened."""
    document = documents["mdx_net"]
    changed = {**document[section], key: value} if section else value
    with pytest.raises(ConfigError, match=complaint):
        parse_config({**document, section or key: changed})


def test_a_run_may_have_a_name_of_several_words(documents: dict[str, dict[str, Any]]) -> None:
    assert parse_config({**documents["mdx_net"], "name": "für Anna v1.2"}).name == "für Anna v1.2"


@pytest.mark.parametrize("state", [b"garbage", b"", b"PK\x03\x04"])
def test_a_state_that_cannot_be_read_is_said(
    state: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.pt").write_bytes(state)
    assert main(["export", str(tmp_path)]) == 2
    assert f"error: {tmp_path / 'state.pt'}: expected a saved run, found" in capsys.readouterr().err


def test_examples_are_long_enough_for_the_loss(documents: dict[str, dict[str, Any]]) -> None:
    document = documents["scnet"]
    model = {**document["model"], "segment_seconds": 0.04}
    further = {**document["optimisation"], "loss": "spectral_l1"}
    with pytest.raises(ConfigError, match=r"optimisation\.loss: .* more than 2048 samples, found 1764"):
        parse_config({**document, "model": model, "optimisation": further})


def test_a_missing_key_is_named(documents: dict[str, dict[str, Any]]) -> None:
    del documents["mdx_net"]["seed"]
    with pytest.raises(ConfigError, match="the key 'seed' is missing"):
        parse_config(documents["mdx_net"])


def test_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\nname: y\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: .*appears twice"):
        load_config(path)


def test_a_package_that_is_broken_takes_nothing_from_the_others(
    documents: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = EntryPoint("broken", "nowhere_at_all:ARCHITECTURE", registry.ENTRY_POINTS)
    monkeypatch.setattr(
        registry, "entry_points", lambda group, name="": [broken] if name in ("", "broken") else []
    )
    with pytest.raises(ConfigError, match="not trained here; allowed: bs_roformer, htdemucs, mdx_net"):
        parse_config({**documents["htdemucs"], "model": {"architecture": "wiener"}})
