"""Configurations: what is accepted comes back the same, what is not is named."""

from pathlib import Path
from typing import Any

import pytest

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
        ("model", "sources", ["drums", "piano"], "stems: expected the model's .*piano"),
    ],
)
def test_errors_name_the_key(
    section: str, key: str, value: Any, complaint: str, documents: dict[str, dict[str, Any]]
) -> None:
    document = documents["htdemucs"]
    with pytest.raises(ConfigError, match=complaint):
        parse_config({**document, section: {**document[section], key: value}})


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
