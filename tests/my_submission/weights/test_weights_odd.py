"""Odd checkpoints: whatever is in a file, opening it is one sentence, at once, and costs no more than the file has.

Here by the checks of numbers alone, in this process; `test_weights_trial.py` is about what they cannot bound.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from my_submission.models.demucs_file import load_torch
from my_submission.runtime.pool import load_model
from my_submission.weights.load import build, open_tensors
from tests.my_submission.weights.odd import ARGUMENTS, NETWORK, ROW, refused
from tests.random_checkpoints import demucs_package, random_state, safetensors_metadata
from tests.thinned import one_in

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_state("htdemucs", seed=0)


# --- what the network is said to be -----------------------------------------------------------------

ODD_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    *(({"segment": value}, "segment: expected from 0.1 to 600, found") for value in
      (0, -1, 1e-9, 601, 1e300, 10**30, float("nan"), float("inf"), float("-inf"), Fraction(1, 10**9))),
    *(({"segment": value}, "segment: expected a number, found") for value in ("8", None, True, [1])),
    *(({"nfft": value}, "nfft: expected from 16 to 65,536, found") for value in (0, 1, -4096, 2**40, float("nan"))),
    ({"wiener_iters": 10**9, "end_iters": 10**9}, "wiener_iters: expected from 0 to 16"),
    ({"stride": 0}, "stride: expected from 1 to 64"),
    ({"time_stride": -1}, "time_stride: expected from 1 to 64"),
    ({"t_max_period": 0}, "t_max_period: expected from"),
    ({"depth": 10**9}, "depth: expected from -1,000,000.0 to 1,000,000.0, found 1000000000"),
    ({"depth": 100_000}, "the network refuses its arguments"),
    ({"depth": -1}, "the network refuses its arguments"),
    ({"t_layers": 100_000}, r"the network refuses its arguments: they describe more than \d,\d{3} (tensors|layers)"),
    ({"dconv_depth": 100_000}, r"refuses its arguments: they describe more than \d,\d{3} (tensors|layers)"),
    ({"channels": 10**12}, "channels: expected"),
    ({"channels": 0}, "tensor '.*': its arguments describe shape"),
    ({"channels": -8}, "the network refuses its arguments"),
    ({"growth": 1e300}, "growth: expected"),
    ({"growth": float("nan")}, "growth: expected"),
    ({"t_heads": 0}, "the network refuses its arguments"),
    ({"t_hidden_scale": 1e6}, "tensor '.*': its arguments describe shape"),
    ({"dconv_comp": 0}, "the network refuses its arguments"),
    ({"dconv_comp": 1e-9}, "tensor '.*': its arguments describe shape|refuses its arguments"),
    ({"t_sparse_self_attn": True}, "tensor '.*': its arguments describe shape|refuses its arguments"),
    ({"t_emb": "scaled", "t_max_positions": 1_000_000}, "tensor '.*': its arguments describe shape"),
    ({"freq_emb": float("inf")}, "freq_emb: expected"),
    ({"kernel_size": 1_000_000}, "tensor '.*': its arguments describe shape|refuses its arguments"),
    ({"multi_freqs": [0.5] * 10_000}, "argument 'multi_freqs': expected numbers, text or lists"),
    ({"multi_freqs": [[[[1]]]]}, "argument 'multi_freqs': expected numbers, text or lists"),
    ({"multi_freqs": [[float("nan")]]}, "multi_freqs: expected"),
    ({"sources": ["vocals"] * 100_000}, "argument 'sources': expected numbers, text or lists"),
    ({"sources": ["\x1b[2J", "bass", "other", "vocals"]}, r"found \?\[2J, bass"),
    ({"\x1b[31m" * 1_000: 1}, "do not fit HTDemucs"),
    ({"x" * 100_000: 1}, "do not fit HTDemucs"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "complaint"), one_in(5, ODD_ARGUMENTS))
def test_absurd_arguments(
    tmp_path: Path, state: dict[str, Tensor], changes: dict[str, Any], complaint: str
) -> None:
    torch.save(demucs_package(NETWORK, {**ARGUMENTS, **changes}, state), tmp_path / "odd.th")
    refused(tmp_path / "odd.th", rf"odd\.th: .*({complaint})")


@pytest.mark.parametrize(("changes", "complaint"), one_in(3, ODD_ARGUMENTS[:6]))
def test_absurd_arguments_as_text(
    tmp_path: Path, state: dict[str, Tensor], changes: dict[str, Any], complaint: str
) -> None:
    metadata = safetensors_metadata(NETWORK, {**ARGUMENTS, **changes})
    save_file(state, tmp_path / "odd.safetensors", metadata)
    refused(tmp_path / "odd.safetensors", complaint)


@pytest.mark.parametrize(
    "kwargs",
    one_in(2, [
        '{"segment": ' + "9" * 5_000 + "}", '{"segment": {"_type": "fraction", "numerator": "' + "9" * 5_000 + '"}}',
        '{"a": {"_type": "fraction", "numerator": Infinity, "denominator": 1}}', "[" * 100_000, "NaN", "", "3",
        '{"a": {"_type": "fraction", "numerator": NaN, "denominator": 1}}', '{"a": ' * 100_000,
    ]),
)  # fmt: skip
def test_metadata_that_is_no_arguments(tmp_path: Path, state: dict[str, Tensor], kwargs: str) -> None:
    metadata = {**safetensors_metadata(NETWORK, ARGUMENTS), "kwargs": kwargs}
    save_file(state, tmp_path / "odd.safetensors", metadata)
    refused(tmp_path / "odd.safetensors", "not a Demucs checkpoint, or damaged|kwargs as a dict")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"nfft": 2050}, "its network cannot run"),
        ({"t_emb": "none such"}, "its network cannot run"),
    ],
)
def test_layers_that_do_not_fit_together_are_found_before_a_recording_is(
    tmp_path: Path, state: dict[str, Tensor], changes: dict[str, Any], complaint: str
) -> None:
    """Neither the constructor nor the shapes tell; a tenth of a second of noise does."""
    path = tmp_path / "odd.th"
    torch.save(demucs_package(NETWORK, {**ARGUMENTS, **changes}, state), path)
    load_torch(path, ROW)
    refused(path, complaint, lambda path: load_model(ROW, path, CPU, torch.float32))


# --- tensors ----------------------------------------------------------------------------------------


def of_shape(value: Tensor) -> Tensor:
    return torch.zeros(1).expand(value.shape)


ODD_TENSORS: list[tuple[Callable[[Tensor], Tensor], str]] = [
    (lambda value: value.to_sparse(), "_rebuild_sparse_tensor"),
    (lambda value: value.flatten(1).to_sparse_csr(), "_rebuild_sparse_tensor"),
    (lambda value: value.to("meta"), "_rebuild_meta_tensor"),
    (lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.quint8), "_rebuild_qtensor"),
    (lambda value: value.to(torch.float8_e4m3fn), "_rebuild_tensor_v3"),
    (lambda value: torch.full_like(value, torch.nan), "expected finite numbers, found NaN or infinity"),
    (lambda value: torch.full_like(value, -torch.inf), "expected finite numbers"),
    (lambda value: value.flatten().index_fill(0, torch.tensor(3), torch.nan).view_as(value), "finite numbers"),
    (lambda value: torch.full_like(value, 1e300, dtype=torch.float64), "expected finite numbers"),
    (lambda value: value.to(torch.complex64), "found values of the kind torch.complex64"),
    (lambda value: torch.complex(value, value).conj(), "found values of the kind torch.complex64"),
    (lambda value: value.long(), "expected values of the kind torch.float32, found torch.int64"),
    (lambda value: value.bool(), "expected values of the kind torch.float32, found torch.bool"),
    (lambda value: value[:0], r"found no values \(shape \(0, "),
    (of_shape, r"values \(shape .*\) that share 4 bytes"),
    (lambda value: torch.zeros(1).expand(10**6, 10**6), "1,000,000,000,000 values .* that share 4 bytes"),
    (lambda value: value.flatten()[:4].as_strided((2, 3), (0, 0)), "its arguments describe shape|that share"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "complaint"), one_in(2, ODD_TENSORS))
@pytest.mark.filterwarnings("ignore")
def test_odd_tensors(
    tmp_path: Path, state: dict[str, Tensor], change: Callable[[Tensor], Tensor], complaint: str
) -> None:
    name = next(key for key, value in state.items() if value.dim() > 1)
    torch.save(demucs_package(NETWORK, ARGUMENTS, {**state, name: change(state[name])}), tmp_path / "odd.th")
    refused(tmp_path / "odd.th", complaint)


def test_a_network_of_nothing_but_shared_zeros(tmp_path: Path, state: dict[str, Tensor]) -> None:
    zeros = {key: of_shape(value) for key, value in state.items()}
    torch.save(demucs_package(NETWORK, ARGUMENTS, zeros), tmp_path / "odd.th")
    refused(tmp_path / "odd.th", "that share 4 bytes")


def test_tensors_that_share_a_storage_do_not_multiply_it(tmp_path: Path) -> None:
    values = torch.zeros(1000)
    torch.save({"a": values, "b": values}, tmp_path / "tied.pt")
    assert len(open_tensors(tmp_path / "tied.pt")) == 2, "as tied weights do"
    torch.save({f"a{i}": values for i in range(5)}, tmp_path / "odd.pt")
    refused(tmp_path / "odd.pt", "state 20,000 bytes and share 4,000, expected at most 4 times", open_tensors)


@pytest.mark.parametrize("keys", [[1], [("a",)], [None]])
def test_tensors_without_names(tmp_path: Path, keys: list[Any]) -> None:
    torch.save({key: torch.zeros(1) for key in keys}, tmp_path / "odd.pt")
    refused(tmp_path / "odd.pt", "expected tensors with names, found one called", open_tensors)


def test_a_half_precision_sum_that_overflows_is_no_infinity(tmp_path: Path) -> None:
    """The quick test of finiteness is a sum; only if that is not finite are the values looked at."""
    layer = torch.nn.Linear(4, 4)
    large = {"weight": torch.full((4, 4), 3e38), "bias": torch.full((4,), 6e4, dtype=torch.float16)}
    assert build(tmp_path / "x", lambda: layer, large).weight[0, 0] == 3e38


@pytest.mark.thorough
def test_a_constructor_cannot_make_parts_without_end(tmp_path: Path) -> None:
    def layers() -> torch.nn.Module:
        made = torch.nn.ModuleList()
        while True:
            made.append(torch.nn.Identity())

    def tensors() -> torch.nn.Module:
        return torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in iter(int, 1))

    state = {"a": torch.zeros(1)}
    refused(tmp_path / "x", "describe more than 1,004 layers", lambda path: build(path, layers, state))
    refused(tmp_path / "x", "describe more than 1,004 tensors", lambda path: build(path, tensors, state))
    named = (
        "its manifest row says depth 9; the file has 1; the network refuses its arguments: they describe more"
    )
    refused(
        tmp_path / "x", named, lambda path: build(path, layers, state, {"depth": 9}, lambda _: {"depth": 1})
    )


def test_tables_besides_the_tensors_are_limited(tmp_path: Path) -> None:
    class Wide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.window = torch.ones(1 << 40)

    refused(
        tmp_path / "x",
        r"tables of 1,099,511,627,776 values besides its tensors, expected at most 67,108,864",
        lambda path: build(path, Wide, torch.nn.Linear(1, 1).state_dict(prefix="layer.")),
    )


def test_messages_are_one_line_whatever_the_names_are(tmp_path: Path) -> None:
    torch.save({"\x1b[2J\n" * 100: torch.tensor(torch.nan)}, tmp_path / "odd.pt")
    named = open_tensors(tmp_path / "odd.pt")
    refused(tmp_path / "odd.pt", "its arguments describe", lambda path: build(path, torch.nn.Identity, named))
