"""The bands of VR networks are the published band files, and front and back end what is written out here of them."""

import json
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor

from my_submission.models.vr.bands import LAYOUTS
from my_submission.models.vr.resampling import resampled
from my_submission.models.vr.spectrum import Spectrum
from tests.lower_precision import agreement
from tests.vr_networks import music

pytestmark = pytest.mark.processor


def band_file(name: str) -> dict[str, Any]:
    """As the package has it, which is as Ultimate Vocal Remover has it."""
    path = files("pymss_core") / "resources" / "vr_modelparams" / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def bins_of(content: dict[str, Any]) -> int:
    return int(content.get("bins") or content["n_bins"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_the_band_files(name: str) -> None:
    content, layout = band_file(name), LAYOUTS[name]
    assert layout.bins == bins_of(content)
    assert layout.rate == content["sr"]
    start, stop = content["pre_filter_start"], content["pre_filter_stop"]
    assert layout.prefilter == ((start, stop) if start > 0 else None)
    switched = [key for key in ("mid_side", "mid_side_b2", "stereo_n", "reverse") if content.get(key)]
    assert layout.channels == (switched or ["left_right"])[0]
    for band, said in zip(layout.bands, content["band"].values(), strict=True):
        assert (band.rate, band.hop, band.n_fft) == (said["sr"], said["hl"], said["n_fft"])
        assert band.bins == (said["crop_start"], said["crop_stop"])
        rise = (said["hpf_stop"], said["hpf_start"]) if said.get("hpf_start", -1) > 0 else None
        fall = (said["lpf_start"], said["lpf_stop"]) if "lpf_start" in said else None
        assert (band.rise, band.fall) == (rise, fall)
        assert band.channels == said.get("convert_channels", "left_right")
        if band is not layout.bands[-1]:  # which is resampled from no other
            assert band.resampler == said["res_type"]
        assert band.hop * layout.rate == layout.hop * band.rate, "frames of all bands at the same times"
    assert sum(band.height for band in layout.bands) <= layout.bins


Waves = NDArray[np.float64]
MATRICES = {
    "mid_side": ((0.5, 0.5), (1, -1)),
    "mid_side_b2": ((0.5, 1), (1, -0.5)),
    "stereo_n": ((16 / 15, 4 / 15), (4 / 15, 16 / 15)),
}


class WrittenOut:
    """Front and back end in double precision, from the description of the band files; it gets the filter for low
    bands, which another test is about."""

    def __init__(self, name: str, version: str) -> None:
        self.content = band_file(name)
        self.bands = list(self.content["band"].values())
        self.bins = bins_of(self.content)
        self.newer = version == "5.1"

    def matrix(self, band: dict[str, Any]) -> Waves:
        older = next((key for key in MATRICES if self.content.get(key)), None)
        key = band.get("convert_channels") if self.newer else older
        return np.array(MATRICES[key]) if key else np.eye(2)

    def forward(self, track: Waves) -> NDArray[np.complex128]:
        stacked: list[NDArray[np.complex128]] = []
        wave, rate = track, self.bands[-1]["sr"]
        for band in reversed(self.bands):
            wave, rate = self.moved(wave, rate, band["sr"], band["res_type"]), band["sr"]
            mixed = self.matrix(band) @ wave
            half, count = band["n_fft"] // 2, 1 + wave.shape[-1] // band["hl"]
            padded = np.pad(mixed, ((0, 0), (half, half)))
            frames = [padded[:, i * band["hl"] :][:, : band["n_fft"]] for i in range(count)]
            spectrum = np.fft.rfft(np.stack(frames, axis=-2) * hann(band["n_fft"])).swapaxes(1, 2)
            stacked.insert(0, spectrum[:, band["crop_start"] : band["crop_stop"]])
        rows = np.concatenate(stacked, axis=1)
        rows = np.pad(rows, ((0, 0), (0, self.bins + 1 - rows.shape[1]), (0, 0)))
        self.weaken(rows)
        return rows

    def weaken(self, rows: NDArray[np.complex128]) -> None:
        first, last = self.content["pre_filter_start"], self.content["pre_filter_stop"]
        if first <= 0:
            return
        if self.newer or len(self.bands) == 1:
            for bin_ in range(first, self.bins + 1):
                rows[:, bin_] *= max(0, 1 - (bin_ - first + 1) / (last - first))
            return
        gain = 1.0
        for bin_ in range(first + 1, last):
            gain = 10 ** (-(bin_ - first) * (3.5 - gain) / 20)
            rows[:, bin_] *= gain

    def inverse(self, rows: NDArray[np.complex128]) -> Waves:
        wave, rate, start = np.zeros((2, 0)), 0, 0
        for band in self.bands:
            bins, height = band["n_fft"] // 2 + 1, band["crop_stop"] - band["crop_start"]
            full = np.zeros((2, bins, rows.shape[-1]), complex)
            full[:, band["crop_start"] : band["crop_stop"]] = rows[:, start : start + height]
            start += height
            if band.get("hpf_start", -1) > 0:
                top, bottom = band["hpf_start"], band["hpf_stop"] - 1
                for bin_ in range(top + 1):
                    full[:, bin_] *= max(0, 1 - (top - bin_ + 1) / (top - bottom))
            if "lpf_start" in band:
                for bin_ in range(band["lpf_start"], bins):
                    full[:, bin_] *= max(
                        0, 1 - (bin_ - band["lpf_start"] + 1) / (band["lpf_stop"] - band["lpf_start"])
                    )
            own = np.linalg.inv(self.matrix(band)) @ self.back(full, band)
            wave = own if not rate else self.moved(wave, rate, band["sr"], "sinc_fastest") + own
            rate = band["sr"]
        return wave

    @staticmethod
    def back(spectrum: NDArray[np.complex128], band: dict[str, Any]) -> Waves:
        n_fft, hop = band["n_fft"], band["hl"]
        window, count = hann(n_fft), spectrum.shape[-1]
        sums, weights = np.zeros((2, n_fft + hop * (count - 1))), np.zeros(n_fft + hop * (count - 1))
        for i, frame in enumerate(np.fft.irfft(spectrum, axis=1, n=n_fft).transpose(2, 0, 1)):
            sums[:, i * hop : i * hop + n_fft] += frame * window
            weights[i * hop : i * hop + n_fft] += window**2
        inside = slice(n_fft // 2, n_fft // 2 + hop * (count - 1))
        return np.asarray(sums[:, inside] / weights[inside])

    @staticmethod
    def moved(wave: Waves, from_rate: int, to_rate: int, kind: str) -> Waves:
        if kind == "polyphase" and from_rate != to_rate:
            return np.asarray(resample_poly(wave, to_rate, from_rate, axis=-1))
        return resampled(torch.from_numpy(wave), from_rate, to_rate, "sinc_fastest").numpy()


def hann(length: int) -> Waves:
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))


ONES = [
    *(("5", name) for name in ("1band_sr33075_hl384", "2band_32000", "3band_44100_mid", "3band_44100_msb2")),
    *(("5", name) for name in ("4band_44100", "4band_v2_sn")),
    *(("5.1", name) for name in ("1band_sr44100_hl1024", "4band_v3_sn", "4band_v4_ms_fullband")),
]


@pytest.mark.parametrize(("version", "name"), ONES)
def test_front_and_back_end_are_those_of_the_band_file(version: Any, name: str) -> None:
    """Above 110 dB of double precision. The mask is another in each frame and bin."""
    written, ours = WrittenOut(name, version), Spectrum(LAYOUTS[name], version)
    track = music(ours.layout.hop * 40)
    rows = written.forward(track.double().numpy())
    found = ours.forward(track)
    assert agreement(as_real(torch.from_numpy(rows)), as_real(found)) > 110
    mask = torch.rand(found.shape, generator=torch.Generator().manual_seed(3))
    expected = torch.from_numpy(written.inverse(rows * mask.double().numpy()))
    assert agreement(expected, ours.inverse(found * mask)) > 110


def as_real(rows: Tensor) -> Tensor:
    return torch.view_as_real(rows.to(torch.complex128))


@pytest.mark.parametrize(("from_rate", "to_rate"), [(7_350, 14_700), (14_700, 44_100), (32_000, 6_000)])
def test_sinc_fastest_keeps_the_lower_half(from_rate: int, to_rate: int) -> None:
    """Of what the lower rate can have: a tone is the same tone to 80 dB, away from the ends."""
    frequency = 0.24 * min(from_rate, to_rate)

    def tone(rate: int) -> Tensor:
        return torch.sin(2 * torch.pi * frequency / rate * torch.arange(rate // 5, dtype=torch.float64))[None]

    made = resampled(tone(from_rate).float(), from_rate, to_rate, "sinc_fastest")
    ends = to_rate // 25
    assert made.shape == tone(to_rate).shape
    assert agreement(tone(to_rate)[:, ends:-ends], made[:, ends:-ends]) > 80


def test_what_a_polyphase_filter_gives_is_scipys() -> None:
    wave = music(7_350)
    expected = resample_poly(wave.numpy(), 160, 147, axis=-1)
    assert torch.equal(resampled(wave, 7_350, 8_000, "polyphase"), torch.from_numpy(expected))
