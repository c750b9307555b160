"""The programs the renderer calls: fluidsynth (sound fonts) and espeak-ng (speech)."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from .dsp import RATE, Audio, Floats
from .midi import Part, standard_midi_file

# The two sound fonts, both under the MIT licence, and the Debian packages that hold them.
FONTS = {
    "fluid": (Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"), "fluid-soundfont-gm"),
    "musescore": (
        Path("/usr/share/sounds/sf2/MuseScore_General_Full.sf2"),
        "musescore-general-soundfont-lossless",
    ),
}
PLAY_TIMEOUT_SECONDS = 600  # it takes about two; an endless sound would fill the disk
DEMO_FONT = "fluid"  # the only one that the demo tracks use
PROGRAMS = {"fluidsynth": "fluidsynth", "espeak-ng": "espeak-ng"}


class MissingToolError(RuntimeError):
    """A program or a sound font that the renderer needs is not installed."""


def missing_packages(held_out: bool) -> list[str]:
    """Missing Debian packages for rendering the demo tracks (`held_out`) or training audio."""
    programs = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    fonts = [FONTS[DEMO_FONT]] if held_out else list(FONTS.values())
    return programs + [package for path, package in fonts if not path.exists()]


def require_tools(held_out: bool) -> None:
    """Raise MissingToolError, naming the packages, if any are missing."""
    missing = missing_packages(held_out)
    if missing:
        raise MissingToolError(
            "the renderer needs programs or sound fonts that are not installed; run: "
            f"apt-get install {' '.join(missing)}"
        )


def versions() -> str:
    """The programs and sound fonts by which audio may differ from machine to machine, in words."""
    words = []
    for program in PROGRAMS:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=60)
        numbers = re.findall(r"\d+\.\d[\w.]*", said.stdout)
        words.append(f"{program} {numbers[0] if numbers else '?'}")
    sizes = [f"{path.name} of {path.stat().st_size} bytes" for path, _ in FONTS.values() if path.exists()]
    return ", ".join([*words, *sizes])


def play(parts: tuple[Part, ...], seconds: float) -> Audio:
    """The parts played by fluidsynth, without its reverb and chorus: (2, samples) of exactly `seconds`."""
    samples = round(seconds * RATE)
    out = np.zeros((2, samples), dtype=np.float32)
    for font in sorted({part.program.font for part in parts}):
        chosen = tuple(part for part in parts if part.program.font == font)
        played = play_font(chosen, font, seconds)[:, :samples]
        out[:, : played.shape[1]] += played
    return out


def play_font(parts: tuple[Part, ...], font: str, seconds: float) -> Audio:
    """The parts of one sound font played by one call of fluidsynth: (2, samples)."""
    with tempfile.TemporaryDirectory(prefix="sdx_play_") as folder:
        score, audio = Path(folder, "score.mid"), Path(folder, "audio.wav")
        score.write_bytes(standard_midi_file(parts, seconds))
        command = ["fluidsynth", "-ni", "-q", "-r", str(RATE), "-g", "0.5", "-O", "float", "-T", "wav"]
        for setting in ("synth.dynamic-sample-loading=1", "synth.reverb.active=0", "synth.chorus.active=0"):
            command += ["-o", setting]
        command += ["-F", str(audio), str(FONTS[font][0]), str(score)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PLAY_TIMEOUT_SECONDS
        )
        if done.returncode != 0 or not audio.exists():
            raise RuntimeError(f"fluidsynth failed on {font}: {done.stderr.strip()}")
        samples, _ = soundfile.read(audio, dtype="float32", always_2d=True)
    return np.ascontiguousarray(samples.T)


def speak(text: str, voice: str, words_per_minute: int, pitch: int) -> tuple[Floats, int]:
    """A text spoken by espeak-ng: samples (samples,) in ±1 and the rate in Hz.

    `voice` is espeak's name, e.g. "en-us+f3"; pitch is on its scale of 0–99.
    """
    command = ["espeak-ng", "-v", voice, "-s", str(words_per_minute), "-p", str(pitch), "--stdout", text]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    sound, header = done.stdout, 44
    if done.returncode != 0 or len(sound) <= header:
        raise RuntimeError(f"espeak-ng voice {voice!r} failed on {text!r}: {done.stderr.decode().strip()}")
    rate = int.from_bytes(sound[24:28], "little")
    whole = header + (len(sound) - header) // 2 * 2
    return np.frombuffer(sound[header:whole], dtype="<i2").astype(np.float64) / 32768.0, rate
