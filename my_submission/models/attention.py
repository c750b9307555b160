"""Multi-head attention for inference in float32, in place of `torch.nn.MultiheadAttention` inside HTDemucs.

The module's own fast path writes out the whole attention matrix; the blockwise kernel is quicker in float32 (in
bfloat16 on the CPU it is not: benchmarks/README.md has the figures).
"""

from torch import Tensor, nn


class BlockwiseAttention(nn.Module):
    """The weights of a MultiheadAttention (batch first, no dropout, no masks) on the blockwise kernel."""

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
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values)
        output: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(query.shape))
        return output, None

    def _heads(self, projected: Tensor) -> Tensor:
        """(batch, tokens, width) -> (batch, heads, tokens, width / heads)."""
        batch, tokens, width = projected.shape
        return projected.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)


def use_blockwise_attention(network: nn.Module) -> None:
    """Replace every plain MultiheadAttention of a network; the weights are shared."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.MultiheadAttention:
                setattr(parent, name, BlockwiseAttention(child))
