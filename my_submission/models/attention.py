"""Multi-head attention for inference, in place of `torch.nn.MultiheadAttention` inside HTDemucs.

In float32 torch's blockwise kernel is quickest. In lower precision on the CPU that kernel runs at half the speed of
plain matrix products, and the module's own fast path writes out all scores of all heads: here they are computed for
some hundred queries of one head at a time, which stay in the cache (benchmarks/README.md has the figures).
"""

import torch
from torch import Tensor, nn

QUERIES_AT_A_TIME = 336


class Attention(nn.Module):
    """The weights of a MultiheadAttention (batch first, no dropout, no masks)."""

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        assert original.batch_first
        assert original.in_proj_weight is not None, "queries, keys and values have one width"
        self.heads = original.num_heads
        self.in_proj_weight = original.in_proj_weight
        self.in_proj_bias = original.in_proj_bias
        self.out_proj = original.out_proj

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: None = None,
        key_padding_mask: None = None,
        need_weights: bool = False,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """query (batch, q, width), key and value the same (batch, k, width) -> ((batch, q, width), None).

        The further arguments are those of MultiheadAttention; only their defaults are supported.
        """
        assert value is key
        assert attn_mask is None
        assert key_padding_mask is None
        width = query.shape[-1]
        query_weight, pair_weight = self.in_proj_weight[:width], self.in_proj_weight[width:]
        query_bias, pair_bias = self.in_proj_bias[:width], self.in_proj_bias[width:]
        queries = self._heads(nn.functional.linear(query, query_weight, query_bias))
        pairs = nn.functional.linear(key, pair_weight, pair_bias)
        keys, values = self._heads(pairs[..., :width]), self._heads(pairs[..., width:])
        if queries.device.type == "cpu" and queries.dtype != torch.float32:
            mixed = _by_head(queries, keys, values)
        else:
            mixed = nn.functional.scaled_dot_product_attention(queries, keys, values)
        output: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(query.shape))
        return output, None

    def _heads(self, projected: Tensor) -> Tensor:
        """(batch, tokens, width) -> (batch, heads, tokens, width / heads)."""
        batch, tokens, width = projected.shape
        return projected.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)


def _by_head(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """`scaled_dot_product_attention`, (batch, heads, tokens, size) each, as plain matrix products.

    Scores are rounded to the inputs' precision, so the keys' common part, which no softmax sees, is taken off first.
    """
    keys = (keys - keys.mean(dim=2, keepdim=True)) * keys.shape[-1] ** -0.5
    mixed = queries.new_empty(queries.shape)
    flat = (tensor.flatten(0, 1) for tensor in (queries, keys, values, mixed))
    for query, key, value, into in zip(*flat, strict=True):
        key, value = key.T.contiguous(), value.contiguous()
        for some, out in zip(query.split(QUERIES_AT_A_TIME), into.split(QUERIES_AT_A_TIME), strict=True):
            torch.mm(torch.mm(some, key).softmax(dim=-1), value, out=out)
    return mixed


def use_plain_attention(network: nn.Module) -> None:
    """Replace every plain MultiheadAttention of a network; the weights are shared."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.MultiheadAttention:
                setattr(parent, name, Attention(child))
