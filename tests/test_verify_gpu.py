"""`make verify-gpu`, as far as it goes without a GPU."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu

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
