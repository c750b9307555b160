"""What `--help` says of every command."""

import argparse
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

import evaluator.__main__
import my_submission.__main__
import sdx.__main__
import training.__main__
from sdx import ROOT
from sdx.described import commands_below, describe


def test_help_is_whole_sentences_and_has_no_marks_of_its_formatting() -> None:
    whole = argparse.ArgumentParser(prog="sdx")
    sdx.__main__.add_parsers(whole)
    describe(whole)
    commands = [command for _, command in commands_below(whole)]
    assert len(commands) > 30
    for command in commands:
        text = command.format_help()
        assert "%%" not in text, command.prog
        assert "%(" not in text, command.prog
        described = (command.description or "").strip()
        assert described[:1].isupper(), command.prog
        assert described[described.find("\n\n") - 1 if "\n\n" in described else -1] in ".:", command.prog
        unexplained = [
            action.dest
            for action in command._actions
            if not action.help and not isinstance(action, argparse._SubParsersAction)
        ]
        assert not unexplained, command.prog


@pytest.mark.parametrize(
    ("main", "place", "words"),
    [
        (sdx.__main__.main, "sdx.__main__.import_module", ["separate"]),
        (my_submission.__main__.main, "my_submission.__main__.import_module", ["separate"]),
        (evaluator.__main__.main, "evaluator.__main__.import_module", ["tune"]),
        (training.__main__.main, "training.config.load_config", ["fit", "demo-scnet-4stem"]),
    ],
)
def test_ctrl_c_is_one_word_in_the_middle_of_imports_too(
    main: Callable[[list[str]], int],
    place: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupted)
    assert main(words) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_ctrl_c_is_not_lost_on_what_takes_it_for_something_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def takes_it_for_a_missing_module(*_: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise ImportError("cannot load module more than once per process")

    monkeypatch.setattr("training.config.load_config", takes_it_for_a_missing_module)
    assert training.__main__.main(["fit", "demo-scnet-4stem"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_help_of_a_command_is_asked_for_in_either_order(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["help", "compare"], ["compare", "--help"]):
        with pytest.raises(SystemExit):
            sdx.__main__.main(words)
    first, second = capsys.readouterr().out.split("usage: ")[1:]
    assert first == second


@pytest.mark.thorough
def test_help_imports_nothing_that_takes_long() -> None:
    code = (
        "import argparse, sys; from sdx.__main__ import add_parsers; add_parsers(argparse.ArgumentParser()); "
        "print([name for name in ('torch', 'scipy.signal', 'scipy.stats', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
