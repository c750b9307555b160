"""Band-split RNNs a second time: in double precision, a band and a step after another, on tensors by their names.

It follows the paper (Luo and Yu, arXiv 2209.15174) and what each repository has in its own way; nothing of the kit's
networks, bands or transforms is used. Spectra are (channels, bins, frames), a band's features (features, frames), and
those of all bands (bands, features, frames).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

State = Mapping[str, Tensor]
RATE = 44_100


class Weights:
    """Tensors of a file in double precision, by names below a prefix."""

    def __init__(self, state: State, prefix: str = "") -> None:
        self._state, self._prefix = state, prefix

    def at(self, name: str) -> "Weights":
        return Weights(self._state, f"{self._prefix}{name}.")

    def __getitem__(self, name: str) -> Tensor:
        return self._state[self._prefix + name].double()


def spectrum_of(track: Tensor, n_fft: int, hop: int) -> Tensor:
    """(2, samples) -> (2, bins, frames) complex: around every hop-th sample, the track mirrored at its ends."""
    mirrored = torch.nn.functional.pad(track.double()[None], (n_fft // 2, n_fft // 2), mode="reflect")[0]
    window = 0.5 - 0.5 * torch.cos(2 * torch.pi * torch.arange(n_fft, dtype=torch.float64) / n_fft)
    starts = range(0, mirrored.shape[-1] - n_fft + 1, hop)
    frames = [torch.fft.rfft(window * mirrored[:, start : start + n_fft]) for start in starts]
    return torch.stack(frames, dim=-1)


def track_of(spectrum: Tensor, n_fft: int, hop: int, samples: int) -> Tensor:
    """The inverse of `spectrum_of`, by least squares: windowed frames over the sum of squared windows."""
    window = 0.5 - 0.5 * torch.cos(2 * torch.pi * torch.arange(n_fft, dtype=torch.float64) / n_fft)
    total = torch.zeros(spectrum.shape[0], n_fft + hop * (spectrum.shape[-1] - 1), dtype=torch.float64)
    weight = torch.zeros(total.shape[-1], dtype=torch.float64)
    for place in range(spectrum.shape[-1]):
        where = slice(place * hop, place * hop + n_fft)
        total[:, where] += window * torch.fft.irfft(spectrum[..., place], n=n_fft)
        weight[where] += window**2
    inside = slice(n_fft // 2, n_fft // 2 + samples)
    return total[:, inside] / weight[inside]


def normed(values: Tensor, axes: Sequence[int], epsilon: float) -> Tensor:
    """Mean zero and variance one over these axes."""
    centred = values - values.mean(dim=tuple(axes), keepdim=True)
    return centred / (centred.square().mean(dim=tuple(axes), keepdim=True) + epsilon).sqrt()


def prelu(values: Tensor, slope: Tensor) -> Tensor:
    return torch.where(values > 0, values, slope * values)


def lstm(weights: Weights, sequences: Tensor) -> Tensor:
    """(sequences, features, steps) -> (sequences, 2 · hidden, steps): forwards, then backwards, a step at a time."""
    directions = []
    for suffix, order in (("", 1), ("_reverse", -1)):
        of_input, of_state = weights[f"weight_ih_l0{suffix}"], weights[f"weight_hh_l0{suffix}"]
        bias = weights[f"bias_ih_l0{suffix}"] + weights[f"bias_hh_l0{suffix}"]
        hidden = torch.zeros(sequences.shape[0], of_state.shape[1], dtype=torch.float64)
        cell, outputs = torch.zeros_like(hidden), []
        for step in sequences.unbind(-1)[::order]:
            entry, forget, new, out = (step @ of_input.T + hidden @ of_state.T + bias).chunk(4, dim=1)
            cell = forget.sigmoid() * cell + entry.sigmoid() * new.tanh()
            hidden = out.sigmoid() * cell.tanh()
            outputs.append(hidden)
        directions.append(torch.stack(outputs[::order], dim=-1))
    return torch.cat(directions, dim=1)


def residual(
    state: Tensor, norm: Weights, rnn: Weights, linear: Weights, axes: Sequence[int], epsilon: float
) -> Tensor:
    """Adds to (sequences, features, steps) what an LSTM makes of it, normed over `axes`."""
    seen = normed(state, axes, epsilon) * norm["weight"][:, None] + norm["bias"][:, None]
    return state + linear["weight"] @ lstm(rnn, seen) + linear["bias"][:, None]


def over_frames_and_bands(
    state: Tensor, layers: Sequence[tuple[Weights, Weights, Weights]], axes: Sequence[int], epsilon: float
) -> Tensor:
    """An LSTM over the frames of each band, then one over the bands of each frame."""
    first, second = layers
    state = residual(state, *first, axes, epsilon)
    return residual(state.permute(2, 1, 0), *second, axes, epsilon).permute(2, 1, 0)


def port(
    state: State, track: Tensor, layout: Mapping[str, object], bands: Sequence[range], *, transposed: bool
) -> Tensor:
    """The network of one target of amanteur's repository (transposed), or of crlandsc's: (2, samples) -> the same."""
    weights, (n_fft, hop) = Weights(state), (int(str(layout[key])) for key in ("n_fft", "hop"))
    spectrum = spectrum_of(track, n_fft, hop)
    frames, mean = spectrum.shape[-1], spectrum.mean()
    deviation = ((spectrum - mean).abs().square().sum() / (spectrum.numel() - 1)).sqrt()
    level = (spectrum - mean) / (deviation + 1e-5)
    features = []
    for place, band in enumerate(bands):
        rows = [part[bins] for channel in level for part in (channel.real, channel.imag) for bins in band]
        norm, linear = weights.at(f"bandsplit.layernorms.{place}"), weights.at(f"bandsplit.fcs.{place}")
        seen = normed(torch.stack(rows), (0, 1), 1e-5) * norm["weight"] + norm["bias"]
        features.append(linear["weight"] @ seen + linear["bias"][:, None])
    hidden = torch.stack(features)
    for layer in range(int(str(layout["num_layers"]))):
        pair = [weights.at(f"bandsequence.bsrnn.{layer}.{axis}") for axis in (0, 1)]
        parts = [(one.at("groupnorm"), one.at("rnn"), one.at("fc")) for one in pair]
        hidden = over_frames_and_bands(hidden, parts, (2,), 1e-5)
    masked = torch.zeros_like(level)
    for place, band in enumerate(bands):
        norm, mlp = weights.at(f"maskest.layernorms.{place}"), weights.at(f"maskest.mlp.{place}.mlp")
        rows_ = normed(hidden[place].T, (0, 1), 1e-5) * norm["weight"] + norm["bias"]  # (frames, features)
        for name in ("0", "2", "3.linear"):
            rows_ = rows_ @ mlp.at(name)["weight"].T + mlp.at(name)["bias"]
            rows_ = rows_.tanh() if name == "0" else rows_
        values, gates = rows_.chunk(2, dim=1)
        made = values * gates.sigmoid()
        flat = (made.T if transposed else made).flatten()
        for channel in (0, 1):
            for at, bins in enumerate(band):
                starts = [((2 * channel + part) * len(band) + at) * frames for part in (0, 1)]
                real, imaginary = (flat[start : start + frames] for start in starts)
                masked[channel, bins] = torch.complex(real, imaginary) * level[channel, bins]
    return track_of(masked * deviation + mean, n_fft, hop, track.shape[-1])


def reproduction(
    state: State, track: Tensor, layout: Mapping[str, object], bands: Sequence[range], sources: int
) -> Tensor:
    """The network of magronp's repository: (2, samples) -> (sources, 2, samples)."""
    weights, epsilon = Weights(state), 1e-7
    n_fft, hop, blocks, tac, heads = (
        int(str(layout[key])) for key in ("n_fft", "hop", "num_repeat", "fac_tac", "n_att_head")
    )
    spectrum = spectrum_of(track, n_fft, hop)
    channels = []
    for channel in spectrum:
        features = []
        for place, band in enumerate(bands):
            norm, linear = weights.at(f"BN.{place}.0"), weights.at(f"BN.{place}.1")
            rows = torch.cat([part[band.start : band.stop] for part in (channel.real, channel.imag)])
            seen = normed(rows, (0, 1), epsilon) * norm["weight"][:, None] + norm["bias"][:, None]
            features.append(linear["weight"][..., 0] @ seen + linear["bias"][:, None])
        channels.append(torch.stack(features))
    for block in (weights.at(f"separator.{place}") for place in range(blocks)):
        nets = [block.at("time_net"), block.at("band_net")]
        parts = [(net.at("norm"), net.at("main_layer"), net.at("proj")) for net in nets]
        channels = [over_frames_and_bands(one, parts, (1, 2), epsilon) for one in channels]
        channels = exchanged(block.at("tac_module"), channels) if tac else channels
        channels = [attended(block.at("attn_block"), one, heads) for one in channels] if heads else channels
    estimates = []
    for source in range(sources):
        masked = torch.zeros_like(spectrum)
        for (at, hidden), (place, band) in ((c, b) for c in enumerate(channels) for b in enumerate(bands)):
            layers = weights.at(f"maskers.{source}.mask.{place}")
            rows = normed(hidden[place], (0, 1), epsilon) * layers.at("0")["weight"][:, None]
            rows = rows + layers.at("0")["bias"][:, None]
            for name in ("1", "3", "5"):
                rows = layers.at(name)["weight"][..., 0] @ rows + layers.at(name)["bias"][:, None]
                rows = rows if name == "5" else rows.tanh()
            values, gates = rows.chunk(2)
            real, imaginary = (values * gates.sigmoid()).chunk(2)
            masked[at, band.start : band.stop] = (
                torch.complex(real, imaginary) * spectrum[at, band.start : band.stop]
            )
        estimates.append(track_of(masked, n_fft, hop, track.shape[-1]))
    return torch.stack(estimates)


def exchanged(weights: Weights, channels: Sequence[Tensor]) -> list[Tensor]:
    """Transform each channel, average them, and add to each what it makes of both."""

    def layer(name: str, values: Tensor) -> Tensor:
        part = weights.at(name)
        return prelu(values @ part["0.weight"].T + part["0.bias"], part["1.weight"])

    last = [one.transpose(1, 2) for one in channels]  # (bands, frames, features)
    transformed = [layer("transform", one) for one in last]
    average = layer("average", sum(transformed, torch.zeros_like(transformed[0])) / len(transformed))
    made = [layer("concat", torch.cat([one, average], dim=-1)) for one in transformed]
    return [one + other.transpose(1, 2) for one, other in zip(channels, made, strict=True)]


def attended(weights: Weights, hidden: Tensor, heads: int) -> Tensor:
    """Attention over the frames of (bands, features, frames), a head at a time."""

    def made(name: str, values: Tensor) -> Tensor:
        part = weights.at(name)
        seen = part["0.weight"][..., 0, 0] @ values + part["0.bias"][:, None]
        level = normed(prelu(seen, part["1.weight"]), (0, 1), 1e-7)
        gamma, beta = (part[f"2.{kind}"][0, :, 0, :].T[..., None] for kind in ("gamma", "beta"))
        return level * gamma + beta

    found = []
    for head in range(heads):
        query, key, value = (made(f"attn_conv_{kind}_{head}", hidden) for kind in "QKV")
        alike = torch.einsum("bet,beu->tu", query, key) / (query.shape[0] * query.shape[1]) ** 0.5
        found.append(torch.einsum("tu,beu->bet", alike.softmax(dim=1), value))
    return hidden + made("attn_concat_proj", torch.cat(found, dim=1))


def bands_below_edges(steps: Sequence[Sequence[int]], n_fft: int) -> list[range]:
    """Bins by the frequency of each: as amanteur's repository has them."""
    edges, before = [], 0
    for end, step in steps:
        edges += list(range(before + step, end + 1, step))
        before = end
    bands: list[list[int]] = [[] for _ in range(len(edges) + 1)]
    for place in range(n_fft // 2 + 1):
        bands[sum(edge <= place * RATE / n_fft for edge in edges)].append(place)
    return [range(band[0], band[-1] + 1) for band in bands]


def bands_of_widths(steps: Sequence[Sequence[int]], n_fft: int) -> list[range]:
    """As many whole bins as a width has, one band after another: as magronp's repository has them."""
    bands, before, start, bins = [], 0, 0, n_fft // 2 + 1
    for end, step in steps:
        for _ in range((end - before) // step):
            bands.append(range(start, start + int(step * bins / (RATE / 2))))
            start = bands[-1].stop
        before = end
    return [*bands, range(start, bins)]
