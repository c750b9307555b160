"""How a network computes in its dtype: exact float32 on a GPU, lower precision on a processor without it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from my_submission.models import fused
from my_submission.models.winograd import Winograd


@contextlib.contextmanager
def computing(device: torch.device, dtype: torch.dtype, to_the_bit: bool = False) -> Iterator[None]:
    """Inside this context, networks compute in a dtype as well and as fast as the device can.

    to_the_bit: in float32 in the order that torch's own layers have, for networks in which rounding grows.
    """
    way: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if device.type == "cpu" and dtype == torch.float32 and not to_the_bit:
        way = Winograd()
    elif device.type == "cpu" and dtype != torch.float32 and not fused.available(dtype):
        way = ProductsInFloat32(dtype)
    with exact_float32(device), way:
        yield


@contextlib.contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Keep float32 convolutions on a GPU from being rounded to TF32 (10 bits), which is torch's default."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


class ProductsInFloat32(TorchFunctionMode):
    """Products of factors in lower precision, on a processor that lacks it: computed in float32 and rounded once.

    A processor that has it does the same: the product of two bfloat16 numbers (8 bits each) is exact in float32 (24
    bits), and only the sum is rounded. This takes a little longer than float32. torch's own kernels for processors
    without it take ten to a hundred times as long, and for an LSTM it has none.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """torch calls this in place of each of its functions."""
        given = (args, dict(kwargs or {}))
        # Autocast rounds the factors of every product, but only after this has been called: so this must round them.
        everything = torch.is_autocast_enabled("cpu")
        if function not in _PRODUCTS or not (everything or self._any_lower(given)):
            return function(*args, **given[1])
        args, named = self._mapped(given, lambda factor: factor.to(self._dtype).float())
        out = named.pop("out", None)
        with torch.autocast(
            "cpu", enabled=False
        ):  # or it would round the float32 factors and use its own kernels
            product = self._mapped(function(*args, **named), lambda result: result.to(self._dtype))
        return product if out is None else (kwargs or {})["out"].copy_(product)

    def _any_lower(self, given: Any) -> bool:
        found = []
        self._mapped(given, lambda tensor: found.append(tensor.dtype))
        return self._dtype in found

    def _mapped(self, given: Any, change: Callable[[Tensor], Any]) -> Any:
        """Lists, tuples and dictionaries with their floating-point tensors changed."""
        if isinstance(given, Tensor):
            return change(given) if given.is_floating_point() else given
        if isinstance(given, list | tuple):
            return type(given)(self._mapped(each, change) for each in given)
        if isinstance(given, dict):
            return {name: self._mapped(each, change) for name, each in given.items()}
        return given


_PRODUCTS = {
    torch.mm, torch.bmm, torch.matmul, torch.addmm, torch.baddbmm, torch.einsum,
    Tensor.mm, Tensor.bmm, Tensor.matmul, Tensor.__matmul__,
    torch.conv1d, torch.conv2d, torch.conv_transpose1d, torch.conv_transpose2d,
    nn.functional.linear, nn.functional.scaled_dot_product_attention,
    nn.functional.multi_head_attention_forward, torch.lstm,
}  # fmt: skip
