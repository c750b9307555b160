"""Multi-head attention for inference on the CPU.

In float32 torch's blockwise kernel is quickest. In lower precision that kernel runs at half the speed of plain matrix
products, and the softmax of scores that are written out takes as long as the products. Here scores are computed for
some hundred queries of one head at a time, which stay in the cache; a softmax is an exponential to base two in place,
and one division of the few columns that are left after the second product (benchmarks/README.md has the figures).
"""

import math

import torch
from torch import Tensor, nn

from my_submission.models.fused import Linear

QUERIES_AT_A_TIME = 336


class Attention:
    """The weights of a MultiheadAttention (batch first, no masks), and what they do to queries, keys and values."""

    def __init__(self, original: nn.MultiheadAttention, scale: Tensor, dtype: torch.dtype) -> None:
        """scale (width): a LayerScale after the attention can act in its last layer."""
        assert original.batch_first
        assert original.in_proj_weight is not None, "queries, keys and values have one width"
        self._heads, self._dtype = original.num_heads, dtype
        (query, self._key, value), (query_bias, self._key_bias, value_bias) = (
            parameter.detach().float().chunk(3)
            for parameter in (original.in_proj_weight, original.in_proj_bias)
        )
        self._query, self._value = Linear(query, query_bias, dtype), Linear(value, value_bias, dtype)
        if dtype != torch.float32:  # scores are to be exponents of two
            self._key = (self._key * (original.head_dim**-0.5 / math.log(2))).to(dtype)
        last = original.out_proj
        self._last = Linear(scale[:, None] * last.weight.detach(), scale * last.bias.detach(), dtype)

    def __call__(self, queries: Tensor, pairs: Tensor) -> Tensor:
        """queries (batch, q, width), what keys and values are made of (batch, k, width) -> (batch, q, width)."""
        by_head = self._blockwise if self._dtype == torch.float32 else self._by_head
        return self._last(by_head(self._query(queries), pairs, self._value(pairs)))

    def _blockwise(self, queries: Tensor, pairs: Tensor, values: Tensor) -> Tensor:
        keys = nn.functional.linear(pairs, self._key, self._key_bias)
        query, key, value = (
            one.view(*one.shape[:2], self._heads, -1).transpose(1, 2) for one in (queries, keys, values)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(queries.shape)

    def _by_head(self, queries: Tensor, pairs: Tensor, values: Tensor) -> Tensor:
        """Scores are rounded to the inputs' precision, so the keys' common part, which no softmax sees, is taken off
        first; their bias is part of that. A query's scores have the mean 0 then, so that its sum of exponentials is
        no less than their number."""
        mixed = torch.empty_like(queries)
        for query, pair, value, into in zip(queries, pairs, values, mixed, strict=True):
            keys = torch.mm(self._key, pair.T)  # (width, k)
            keys -= keys.mean(dim=1, keepdim=True)
            by_head = (one.chunk(self._heads, dim=1) for one in (query, value, into))
            for one in zip(*by_head, keys.chunk(self._heads), strict=True):
                _attend(*one)
        return mixed


def _attend(query: Tensor, value: Tensor, into: Tensor, key: Tensor) -> None:
    """Mix values (k, size) for queries (q, size) by keys (size, k); the products are exponents of two."""
    value = value.contiguous()
    buffer = query.new_empty(min(QUERIES_AT_A_TIME, len(query)), key.shape[1])
    parts = math.gcd(
        key.shape[1], 8
    )  # a sum is quickest in its own dtype, but rounded: several, and theirs exactly
    totals = []
    for some, out in zip(*(torch.split(rows, QUERIES_AT_A_TIME) for rows in (query, into)), strict=True):
        scores = buffer[: len(some)]
        torch.mm(some, key, out=scores)
        torch.exp2(scores, out=scores)
        sums = scores.view(len(scores), parts, -1).sum(dim=2)
        totals.append(sums.sum(dim=1, keepdim=True, dtype=torch.float32))
        torch.div(torch.mm(scores, value), totals[-1], out=out)
    if not torch.cat(totals).isfinite().all():  # a score beyond all that an exponential can hold
        exponents = torch.mm(query, key).float() * math.log(2)
        into.copy_(torch.mm(exponents.softmax(dim=1).to(value.dtype), value))
