"""The published ensembles as their authors ran them: their schedule, with public packages and nothing clever.

`demucs.apply.apply_model` in float32, one chunk at a time, and whole bags (all four experts of htdemucs_ft, whether
or not their stem is used); ONNX Runtime on host arrays, chunk by chunk, with all cores on each. It shares only the
manifest and the opening of checkpoints with my_submission, so it is a yardstick for speed and an oracle for results.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from demucs.apply import BagOfModels, apply_model
from torch import Tensor

from my_submission.models.demucs_file import load_torch
from my_submission.weights import load_manifest

Offsets = Callable[[str, int], int]
"""Checkpoint name and polarity -> the offset, in samples, that `apply_model` must draw for them."""

HOP = 1024
FRAMES = 256
BINS = 3072
SEGMENT_SAMPLES = 1_000_000  # the default of the released code


def paper_stems(instrumental: Tensor, bass: Tensor, drums: Tensor, other: Tensor) -> dict[str, Tensor]:
    """Eq. 9 to 11 of arXiv 2305.07489; eq. 11 as in the released code, since the printed one is wrong."""
    return {
        "bass": (instrumental - drums - other + 2 * bass) / 3,
        "drums": (instrumental - bass - other + 2 * drums) / 3,
        "other": (2 * (instrumental - bass - drums) + other) / 3,
    }


def released_stems(instrumental: Tensor, bass: Tensor, drums: Tensor, other: Tensor) -> dict[str, Tensor]:
    """inference.py at 765bd31, lines 443-466: the paper's stems, then each of them again from the two others.

    Without the code's clipping of the residual to full scale.
    """
    first = paper_stems(instrumental, bass, drums, other)
    return {
        "bass": instrumental - first["drums"] - first["other"],
        "drums": instrumental - first["bass"] - first["other"],
        "other": instrumental - first["bass"] - first["drums"],
    }


def equal_stems(instrumental: Tensor, bass: Tensor, drums: Tensor, other: Tensor) -> dict[str, Tensor]:
    """Nobody published this, but the three stems add up."""
    left = instrumental - bass - drums - other
    return {"bass": bass + left / 3, "drums": drums + left / 3, "other": other + left / 3}


FORMS = {"mdx-c": paper_stems, "mdx-c-released": released_stems, "mdx-c-consistent": equal_stems}


@dataclass
class Published:
    """An ensemble's models, each opened once; `seconds` collects the time of each model's part.

    segment_samples: the length of the released code's outer chunks of MDX-Nets; None: the inner chunks overlap.
    form: how leaderboard C shares the residual of bass, drums and other, one of FORMS.
    """

    weights: Path
    device: torch.device
    offsets: Offsets
    form: str = "mdx-c"
    segment_samples: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    _networks: dict[str, torch.nn.Module] = field(default_factory=dict)
    _sessions: dict[str, onnxruntime.InferenceSession] = field(default_factory=dict)

    def load(self, names: Iterable[str]) -> None:
        """Open the checkpoints of these names in advance."""
        rows = load_manifest().checkpoints
        for name in names:
            self._session(name) if rows[name].architecture == "mdx_net" else self._network(name)

    def mdx_c(self, mixture: Tensor) -> dict[str, Tensor]:
        """(2, samples) at 44.1 kHz -> bass, drums, other, vocals."""
        vocals = self.mdx_c_vocals(mixture)
        return {**self.mdx_c_instruments(mixture - vocals["vocals"]), **vocals}

    def mdx_c_vocals(self, mixture: Tensor) -> dict[str, Tensor]:
        """The first step: vocals alone."""
        with self.timed("Kim_Vocal_1"):
            vocals_1 = self.mdx_net("Kim_Vocal_1", 7680, mixture)
        with self.timed("Kim_Inst"):
            vocals_2 = mixture + self.mdx_net("Kim_Inst", 7680, -mixture)
        with self.timed("htdemucs_ft_vocals"):
            vocals_3 = self.both_polarities(["htdemucs_ft_vocals"], mixture, 0.6)[3]
        return {"vocals": (12 * vocals_1 + 8 * vocals_2 + 3 * vocals_3) / 23}

    def mdx_c_instruments(self, instrumental: Tensor) -> dict[str, Tensor]:
        """The second step: bass, drums and other from what the first one leaves."""
        bags = {
            "htdemucs_ft": ([f"htdemucs_ft_{stem}" for stem in ("drums", "bass", "other", "vocals")], 0.5),
            "htdemucs": (["htdemucs"], 0.6),
            "htdemucs_6s": (["htdemucs_6s"], 0.6),
            "hdemucs_mmi": (["hdemucs_mmi"], 0.6),
        }
        estimates = []
        for name, (experts, overlap) in bags.items():
            with self.timed(name):
                estimates.append(self.both_polarities(experts, instrumental, overlap))
        estimates[2][2] += estimates[2][4] + estimates[2][5]  # other + guitar + piano
        weights = {"drums": (18, 2, 4, 9), "bass": (19, 4, 5, 8), "other": (14, 2, 5, 10)}
        stacked = torch.stack([estimate[:3] for estimate in estimates])
        mean = {
            stem: torch.tensordot(torch.tensor(row) / sum(row), stacked[:, index], 1)
            for index, (stem, row) in enumerate(weights.items())
        }
        return FORMS[self.form](instrumental, mean["bass"], mean["drums"], mean["other"])

    def cdx_b(self, mixture: Tensor) -> dict[str, Tensor]:
        """(2, samples) at 44.1 kHz -> dialog, effect, music."""
        dialog = self.cdx_b_dialog(mixture)
        return {**self.cdx_b_background(mixture - dialog["dialog"]), **dialog}

    def cdx_b_dialog(self, mixture: Tensor) -> dict[str, Tensor]:
        """The first step: dialog alone."""
        with self.timed("Kim_Vocal_1"):
            vocals_1 = self.mdx_net("Kim_Vocal_1", 7680, mixture)
        with self.timed("UVR-MDX-NET-Inst_HQ_2"):
            vocals_2 = mixture - self.mdx_net("UVR-MDX-NET-Inst_HQ_2", 6144, mixture)
        with self.timed("htdemucs_ft_vocals"):
            vocals_3 = self.demucs(["htdemucs_ft_vocals"], mixture, 0.6)[3]
        return {"dialog": (10 * vocals_1 + 4 * vocals_2 + 2 * vocals_3) / 16}

    def cdx_b_background(self, instrumental: Tensor) -> dict[str, Tensor]:
        """The second step: effect and music from what the first one leaves."""
        estimates = []
        for name in ("dnr_a778de4a", "dnr_dbb4db15", "dnr_e41a5468"):
            with self.timed(name):
                estimates.append(self.demucs([name], instrumental, 0.8))
        music, effect, _ = torch.stack(estimates).mean(dim=0)
        return {
            "effect": (effect + instrumental - music) / 2,
            "music": (music + instrumental - effect) / 2,
        }

    def both_polarities(self, experts: list[str], signal: Tensor, overlap: float) -> Tensor:
        """½·f(x) − ½·f(−x): two calls, each with its own random shift."""
        plain, inverted = (self.demucs(experts, signal, overlap, polarity) for polarity in (1, -1))
        return 0.5 * plain - 0.5 * inverted

    def demucs(self, experts: list[str], signal: Tensor, overlap: float, polarity: int = 1) -> Tensor:
        """f(polarity · x) for a single model, or a bag of four with identity weights; each has one random shift."""
        models = [self._network(name) for name in experts]
        model = models[0] if len(models) == 1 else BagOfModels(models, torch.eye(4).tolist())
        with _drawing([self.offsets(name, polarity) for name in experts]):
            estimates: Tensor = apply_model(
                model, polarity * signal[None], shifts=1, overlap=overlap, device=self.device
            )
        return estimates[0].cpu()

    def mdx_net(self, name: str, n_fft: int, signal: Tensor, overlap: float = 0.6) -> Tensor:
        """With segments, which overlap instead of the chunks: the mean of all segments that cover a sample."""
        if self.segment_samples is None:
            return self.mdx_net_in_chunks(name, n_fft, signal, overlap)
        total, times = torch.zeros_like(signal), torch.zeros(signal.shape[-1])
        for start in range(0, signal.shape[-1], int(self.segment_samples * (1 - overlap))):
            end = min(start + self.segment_samples, signal.shape[-1])
            total[:, start:end] += self.mdx_net_in_chunks(name, n_fft, signal[:, start:end], 0.0)
            times[start:end] += 1
        return total / times

    def mdx_net_in_chunks(self, name: str, n_fft: int, signal: Tensor, overlap: float) -> Tensor:
        """Chunks of HOP · (FRAMES − 1) samples, n_fft/2 trimmed at both ends, blended by a triangle."""
        session = self._session(name)
        window = torch.hann_window(n_fft)
        trim, read = n_fft // 2, HOP * (FRAMES - 1)
        kept, samples = read - n_fft, signal.shape[-1]
        padded = torch.nn.functional.pad(signal, (trim, trim + kept))
        rising = torch.arange(1, kept // 2 + 1)
        triangle = torch.cat([rising, rising.flip(0)]) / (kept // 2)
        total, weight = torch.zeros(2, samples + kept), torch.zeros(samples + kept)
        for start in range(0, samples, int((1 - overlap) * kept)):
            length = min(kept, samples - start)
            chunk = torch.zeros(2, read)
            available = padded[:, start : start + read]
            chunk[:, : available.shape[-1]] = available
            spectrum = torch.view_as_real(
                torch.stft(chunk, n_fft, HOP, window=window, center=True, return_complex=True)
            )
            features = spectrum.permute(0, 3, 1, 2).reshape(1, 4, n_fft // 2 + 1, FRAMES)[:, :, :BINS]
            found = torch.from_numpy(session.run(None, {"input": features.numpy()})[0])
            full = torch.nn.functional.pad(found, (0, 0, 0, n_fft // 2 + 1 - BINS))
            back = torch.view_as_complex(
                full.reshape(2, 2, n_fft // 2 + 1, FRAMES).permute(0, 2, 3, 1).contiguous()
            )
            wave = torch.istft(back, n_fft, HOP, window=window, center=True, length=read)[:, trim:-trim]
            total[:, start : start + length] += (wave * triangle)[:, :length]
            weight[start : start + length] += triangle[:length]
        return (total / weight.clamp_min(1e-12))[:, :samples]

    def _network(self, name: str) -> torch.nn.Module:
        if name not in self._networks:
            row = load_manifest().checkpoints[name]
            self._networks[name] = load_torch(self.weights / row.file, row)
        return self._networks[name]

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        if name not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            path = str(self.weights / load_manifest().checkpoints[name].file)
            self._sessions[name] = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[name]

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start


@contextmanager
def _drawing(offsets: list[int]) -> Iterator[None]:
    """Make `random.randint`, as apply_model uses it, return these numbers in turn."""
    original, drawn = random.randint, iter(offsets)
    random.randint = lambda low, high: next(drawn)  # type: ignore[assignment]
    try:
        yield
    finally:
        random.randint = original  # type: ignore[assignment]


def agreement_db(
    expected: Mapping[str, Tensor | np.ndarray], found: Mapping[str, Tensor | np.ndarray]
) -> dict[str, float]:
    """Energy of a stem over the energy of its difference, in dB, by stem."""
    result = {}
    for stem in expected:
        signal, other = (np.asarray(one[stem], np.float64) for one in (expected, found))
        difference = max(float(np.square(signal - other).sum()), 1e-30)
        result[stem] = float(10 * np.log10(np.square(signal).sum() / difference))
    return result
