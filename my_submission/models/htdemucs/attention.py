"""Multi-head attention for inference on the CPU.

In float32 torch's blockwise kernel is fastest. In lower precision that kernel runs at half the speed of plain matrix
products; and if all scores are written out, their softmax takes as long as the products. So this computes the scores
of one head for a few hundred queries at a time, which stay in the cache. The softmax is an exponential to base two in
place, and a division after the second product, when few columns are left (benchmarks/README.md has the figures).
"""

import math

import torch
from torch import Tensor, nn

from my_submission.models.fused import Linear

QUERIES_AT_A_TIME = 336


class Attention:
    """The weights of a MultiheadAttention (batch first, no masks), and what they do to queries, keys and values."""

    def __init__(self, original: nn.MultiheadAttention, scale: Tensor, dtype: torch.dtype) -> None:
        """scale (width): of the LayerScale after the attention, which becomes part of its last layer."""
        assert original.batch_first
        assert original.in_proj_weight is not None, "queries, keys and values have one width"
        self._heads, self._dtype = original.num_heads, dtype
        (query, self._key, value), (query_bias, self._key_bias, value_bias) = (
            parameter.detach().float().chunk(3)
            for parameter in (original.in_proj_weight, original.in_proj_bias)
        )
        self._query, self._value = Linear(query, query_bias, dtype), Linear(value, value_bias, dtype)
        # exp(s) is 2 to the power of s / ln 2: with that and the usual 1/√size in the keys, scores need no pass of
        # their own before the exponential. In float32 torch's kernel scales by itself.
        if dtype != torch.float32:
            self._key = (self._key * (original.head_dim**-0.5 / math.log(2))).to(dtype)
        last = original.out_proj
        self._last = Linear(scale[:, None] * last.weight.detach(), scale * last.bias.detach(), dtype)

    def __call__(self, queries: Tensor, pairs: Tensor) -> Tensor:
        """queries (batch, q, width), pairs (batch, k, width), from which keys and values are made -> as queries."""
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
        """Attention of one head at a time, in lower precision.

        Scores are rounded, by more the larger they are. So the mean of the keys is removed first: it adds the same to
        all scores of a query, which a softmax does not see. The keys' bias is part of that mean and is never added.
        Each query's scores then have a mean of 0, so its exponentials sum to at least their number: no sum vanishes.
        """
        mixed = torch.empty_like(queries)
        for query, pair, value, into in zip(queries, pairs, values, mixed, strict=True):
            keys = torch.mm(self._key, pair.T)  # (width, k): a head's keys are whole rows of it
            keys -= keys.mean(dim=1, keepdim=True)
            by_head = (one.chunk(self._heads, dim=1) for one in (query, value, into))
            for one in zip(*by_head, keys.chunk(self._heads), strict=True):
                _attend(*one)
        return mixed


def _attend(query: Tensor, value: Tensor, into: Tensor, key: Tensor) -> None:
    """Write into `into` (q, size) the values (k, size) mixed for queries (q, size) by keys (size, k).

    The products of queries and keys are exponents of two.
    """
    value = value.contiguous()  # a head's columns of all values; every group of queries reads them
    buffer = query.new_empty(min(QUERIES_AT_A_TIME, len(query)), key.shape[1])
    # A sum in the scores' own dtype is fastest but rounded: take up to eight partial sums, and add those in float32.
    parts = math.gcd(key.shape[1], 8)
    totals = []
    for some, out in zip(*(torch.split(rows, QUERIES_AT_A_TIME) for rows in (query, into)), strict=True):
        scores = buffer[: len(some)]
        torch.mm(some, key, out=scores)
        torch.exp2(scores, out=scores)
        sums = scores.view(len(scores), parts, -1).sum(dim=2)
        totals.append(sums.sum(dim=1, keepdim=True, dtype=torch.float32))
        torch.div(torch.mm(scores, value), totals[-1], out=out)  # (q, size), not (q, k): few columns
    if not torch.cat(totals).isfinite().all():
        # An exponential has overflowed. A softmax that subtracts each query's maximum cannot overflow, but is slower.
        exponents = torch.mm(query, key).float() * math.log(2)
        into.copy_(torch.mm(exponents.softmax(dim=1).to(value.dtype), value))
