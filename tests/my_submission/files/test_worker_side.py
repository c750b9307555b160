"""A child that was told ahead what model there will be opens it while it waits for its settings."""

import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from my_submission.files import worker_side
from my_submission.files.asked import Asked
from my_submission.files.default_preset import EMBEDDED
from my_submission.files.model import ModelChoice, StreamingModel, choose
from my_submission.files.options import FileOptions
from my_submission.files.workers import NoModel, Ready, RunSettings

ASKED = Asked(EMBEDDED, "cpu", "fp32", None, fast=False, memory_budget=None, stems=(), two_stems="vocals")


class Wire:
    """A parent's end that has sent all it will, and keeps what it is sent."""

    def __init__(self, *messages: object) -> None:
        self.messages, self.answers = [*messages], list[object]()

    def recv(self) -> object:
        if not self.messages:
            raise EOFError
        return self.messages.pop(0)

    def send(self, message: object) -> None:
        self.answers.append(message)


@pytest.fixture(autouse=True)
def unchanged_process() -> Iterator[None]:
    logger, handler = logging.getLogger("my_submission"), signal.getsignal(signal.SIGTERM)
    before = [*logger.handlers]
    yield
    logger.handlers[:] = before
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[ModelChoice]:
    """What is opened from now on, which is nothing that separates."""
    choices: list[ModelChoice] = []

    def opening(choice: ModelChoice) -> StreamingModel:
        choices.append(choice)
        if choice.device == "none":
            raise RuntimeError("there is no such device")
        return cast(StreamingModel, object())

    monkeypatch.setattr(worker_side, "open_model", opening)
    monkeypatch.setattr(worker_side, "identity", lambda model: dict[str, Any]())
    return choices


def serve(asked: Asked | None, choice: ModelChoice, cores: tuple[int, ...] = ()) -> list[object]:
    wire = Wire((RunSettings(choice, FileOptions(("vocals",)), ("vocals",), Path("out")), cores))
    worker_side.serve(wire, asked)  # type: ignore[arg-type]
    return wire.answers


def test_what_was_asked_for_is_opened_once(opened: list[ModelChoice]) -> None:
    choice = choose(ASKED).model
    assert choice.stems == ("vocals",)
    assert serve(ASKED, choice) == [Ready()]
    assert opened == [choice]


def test_what_the_settings_say_is_opened_if_it_is_another(opened: list[ModelChoice]) -> None:
    choice = choose(ASKED).model
    other = replace(choice, precision="bf16")
    assert serve(ASKED, other) == [Ready()]
    assert opened == [choice, other]
    opened.clear()
    assert serve(None, other) == [Ready()]
    assert opened == [other]


@pytest.mark.parametrize(
    "wrong", [{"preset": "no such preset"}, {"two_stems": "cowbell"}, {"device": "none"}]
)
def test_what_cannot_be_opened_ahead_is_said_of_the_settings(
    wrong: dict[str, str], opened: list[ModelChoice]
) -> None:
    choice = choose(ASKED).model
    assert serve(replace(ASKED, **wrong), choice) == [Ready()]  # type: ignore[arg-type]
    assert opened[-1] == choice
    assert serve(replace(ASKED, **wrong), replace(choice, device="none")) == [  # type: ignore[arg-type]
        NoModel("there is no such device")
    ]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot bind to cores")
@pytest.mark.parametrize(("told", "used"), [(4, 4), (32, 16)])
@pytest.mark.usefixtures("opened")
def test_one_process_of_several_has_its_cores_or_fewer_if_it_was_told(
    told: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, set_to = list[tuple[int, ...]](), list[int]()
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(32)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: bound.append(cores))
    monkeypatch.setattr(torch, "get_num_threads", lambda: told)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    assert serve(None, choose(ASKED).model, tuple(range(16))) == [Ready()]
    assert (bound, set_to) == ([tuple(range(16))], [used])
