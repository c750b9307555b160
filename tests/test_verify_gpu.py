"""`make verify-gpu`, as far as it goes without a GPU."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, models
from my_submission.weights import load_manifest
from my_submission.weights.load import open_network_state
from sdx.terminal import INTERRUPTED
from tests.random_checkpoints import save_checkpoint
from tests.thinned import one_in

CPU = torch.device("cpu")


@pytest.mark.slow
def test_small_networks_on_the_cpu_pass_all_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    assert gpu.main(["--device", "cpu", "--small", "--json", str(tmp_path / "gpu.json")]) == 0
    torch.set_num_threads(threads)
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert len(report["checks"]) == len(gpu.ROWS) + len(gpu.SMALL_PRESETS) + 3
    assert all(check["holds"] for check in report["checks"])
    assert report["not_run"] == []
    assert "0 failed" in capsys.readouterr().out


def test_without_a_gpu_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "--device cpu --small" in capsys.readouterr().err


@pytest.mark.thorough
def test_what_the_time_does_not_suffice_for_is_listed(tmp_path: Path) -> None:
    gpu.main(["--device", "cpu", "--small", "--minutes", "-1", "--json", str(tmp_path / "gpu.json")])
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert "float32 products" in report["not_run"]
    assert report["checks"] == []


def interrupted() -> None:
    raise KeyboardInterrupt


def test_an_interrupt_keeps_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def steps(report: gpu.Report, *_: object) -> Iterator[gpu.Step]:
        yield "one", lambda: report.check("one", True, "seen")
        yield "two", lambda: report.check("two", float("nan") > gpu.LOWER_DB, "seen")
        assert len(json.loads(file.read_text())["checks"]) == 2  # already
        yield "three", interrupted
        yield "four", interrupted

    file = tmp_path / "gpü 1.json"
    monkeypatch.setattr(gpu, "steps", steps)
    threads = torch.get_num_threads()
    assert gpu.main(["--device", "cpu", "--small", "--json", str(file)]) == INTERRUPTED
    torch.set_num_threads(threads)
    report = json.loads(file.read_text())
    assert [check["holds"] for check in report["checks"]] == [True, False]
    assert report["not_run"] == ["three", "four"]
    assert "2 checks, 1 failed" in capsys.readouterr().out


def test_no_weights_are_made_for_what_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "full_size_checkpoint", lambda _: pytest.fail("that takes a minute"))
    monkeypatch.setattr(gpu, "small_subjects", lambda _: [])
    names = [name for name, _ in gpu.steps(gpu.Report({}), CPU, small=False, folder=tmp_path)]
    assert {*gpu.ROWS, "mdx-c", "cdx-b"} <= {*names}


@pytest.mark.parametrize(
    ("code", "expected"),
    one_in(
        3,
        [
            ("import os; os.kill(os.getpid(), 9)", (False, "its process ended with -9")),
            ("raise ValueError('no room')", (False, "ValueError: no room")),
            ("print('done')", (True, "done")),
        ],
    ),
)
def test_what_a_child_ends_with_is_told(code: str, expected: tuple[bool, str]) -> None:
    assert gpu.in_child(code) == expected


def test_a_wrong_option_is_said_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for main, wrong, said in (
        (gpu.main, ["--device", "cuda:99"], "'cuda:99', but torch"),
        (gpu.main, ["--json", str(tmp_path / "none" / "gpu.json")], "a folder that exists"),
        (models.main, ["--precision", "half"], "invalid choice: 'half'"),
        (models.main, ["--overlap", "1"], "below 1, found '1'"),
        (models.main, ["--seconds", "0"], "expected a number of seconds"),
    ):
        with pytest.raises(SystemExit):
            main(wrong)
        assert said in capsys.readouterr().err


def test_random_weights_are_in_the_format_of_their_row(tmp_path: Path) -> None:
    """Of a row whose file is `.safetensors`, too, which `models.py` lists."""
    row = load_manifest().checkpoints["demo-scnet-4stem"]
    path = save_checkpoint(row, tmp_path, small=False, seed=0)
    assert path.suffix == ".safetensors"
    assert open_network_state(path)


def test_rounded_products_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As TF32 would round them: to ten bits."""

    def rounded(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        if left.dtype != torch.float32:
            return torch.matmul(left, right)
        return torch.matmul(left.bfloat16().float(), right.bfloat16().float())

    report = gpu.Report({})
    gpu.check_products(report, CPU)
    assert report.failed == 0
    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    gpu.check_products(report, CPU)
    assert report.failed == 1
