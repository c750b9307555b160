"""From a file to files of stems, beside what people would use instead: `python benchmarks/peers.py [PEER …] …`.

Each peer's command line runs in an environment of its own, with the same random weights of full size and the same
chunks and overlap as `separate`, from a cold process, in turn with it. An environment is this one with what else a
peer needs (PyTorch alone is a gigabyte); it is made once, in .cache/peers, from the package registry.

Prints, for each peer and length, medians of: wall time and processor time of both, their ratio, and the most memory
of all their processes together (proportional, looked at 20 times a second); and how closely the worst stem's files
agree.

| peer | its command | what it runs |
|---|---|---|
| demucs | `demucs` 4.1 | HTDemucs, overlap 0.25, no shifts |
| audio-separator-mdx | `audio-separator` 0.47.1 | MDX-Net of UVR's size, overlap 0.25 |
| audio-separator-roformer | the same | Mel-Band RoFormer, overlap 0.5 |

BSS Eval beside `museval` is in `scoring.py`, networks alone beside their reference packages in `models.py`. Not here
is `openunmix`: its command needs a build of torchaudio for the PyTorch that is installed, and there is none for ours.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import allowed
from evaluator.isolation.process_tree import descendants, proportional_bytes
from my_submission.commands.separate_options import positive
from my_submission.weights import Checkpoint, load_manifest
from tests.lower_precision import agreement
from tests.random_checkpoints import full_size_checkpoint

RATE_HZ = 44_100
TAIL_BYTES = 10_000 * 1024  # of a file, whose MD5 is how audio-separator knows it
LOOK_SECONDS = 0.05

AUDIO_SEPARATOR = [
    *(
        "audio-separator==0.47.1",
        "librosa",
        "pydub",
        "ml_collections",
        "resampy",
        "samplerate==0.1.0",
        "diffq",
        "julius",
    ),
    *(
        "rotary-embedding-torch>=0.6.1,<0.7",
        "beartype>=0.18.5,<0.19",
        "onnx2torch-py313",
        "lazy_loader",
        "audioread",
    ),
    *(
        "numba",
        "llvmlite",
        "pooch",
        "decorator",
        "scikit-learn",
        "joblib",
        "absl-py",
        "contextlib2",
        "msgpack",
        "six",
        "threadpoolctl",
    ),
]
"""All by name, since what they ask for themselves would replace our PyTorch."""
TORCHVISION = {"__init__.py": "from . import ops\n", "ops.py": "roi_align = None\n"}
"""In its place, which onnx2torch imports for operations that no network here has: no build of it fits our PyTorch."""


@dataclass(frozen=True)
class Peer:
    """Another program that separates.

    packages: what its environment has besides ours.
    row: of the manifest, whose random weights both open.
    preset: a document for `separate`.
    prepare: makes what it needs in a folder, for a file of weights; what follows the interpreter on its command line.
    command: what follows that, for a song and a folder.
    stems: the file of each stem, below that folder.
    """

    packages: Sequence[str]
    row: str
    preset: Mapping[str, object]
    prepare: Callable[[Path, Path], Sequence[str]]
    command: Callable[[Path, Path], Sequence[str]]
    stems: Mapping[str, str]


def of_demucs(folder: Path, weights: Path) -> list[str]:
    """A repository of models with one in it, named by its signature."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    (folder / f"random-{digest}.th").symlink_to(weights)
    options = ["--shifts", "0", "--overlap", "0.25", "--float32", "--clip-mode", "none", "--device", "cpu"]
    return ["-m", "demucs", "--repo", str(folder), "-n", "random", *options]


def of_audio_separator(
    folder: Path, weights: Path, lists: Mapping[str, object], data: Mapping[str, object]
) -> list[str]:
    """A folder of models as it would have downloaded it."""
    kinds = (
        "demucs",
        "vr",
        "mdx",
        "mdx_vip",
        "mdx23c",
        "mdx23c_vip",
        "roformer",
        "other_network",
        "other_network_new",
    )
    known: dict[str, object] = {
        f"{kind.replace('_vip', '')}_download{'_vip' * kind.endswith('_vip')}_list": {} for kind in kinds
    }
    known["other_network_list"] = known["other_network_list_new"] = {}
    (folder / "download_checks.json").write_text(json.dumps({**known, **lists}))
    (folder / "mdx_model_data.json").write_text(json.dumps(data))
    (folder / "vr_model_data.json").write_text("{}")
    (folder / weights.name).symlink_to(weights)
    run = "from audio_separator.utils.cli import main; main()"
    options = ["--model_file_dir", str(folder), "-m", weights.name, "--output_format", "WAV"]
    return ["-c", run, *options, "--normalization", "1", "--use_soundfile", "--log_level", "error"]


def of_mdx(folder: Path, weights: Path) -> list[str]:
    tail = weights.read_bytes()[-TAIL_BYTES:]
    row = {
        "compensate": 1.02, "mdx_dim_f_set": 3072, "mdx_dim_t_set": 8, "mdx_n_fft_scale_set": 7680,
        "primary_stem": "Instrumental",
    }  # fmt: skip
    lists = {"mdx_download_list": {"MDX-Net: random": weights.name}}
    return of_audio_separator(folder, weights, lists, {hashlib.md5(tail).hexdigest(): row})


def of_roformer(folder: Path, weights: Path) -> list[str]:
    """Its configuration is the published one; what is not of ours is as the network's package has it by default."""
    audio = {
        "chunk_size": 352_800,
        "dim_f": 1024,
        "hop_length": 441,
        "n_fft": 2048,
        "num_channels": 2,
        "sample_rate": RATE_HZ,
    }
    model = {
        "dim": 384, "depth": 6, "stereo": True, "num_stems": 1, "time_transformer_depth": 1,
        "freq_transformer_depth": 1, "num_bands": 60, "dim_head": 64, "heads": 8, "flash_attn": True,
        "dim_freqs_in": 1025, "sample_rate": RATE_HZ, "stft_n_fft": 2048, "stft_hop_length": 441,
        "stft_win_length": 2048, "stft_normalized": False, "mask_estimator_depth": 2,
    }  # fmt: skip
    training = {"instruments": ["vocals", "other"], "target_instrument": "vocals"}
    inference = {"batch_size": 1, "dim_t": 801, "num_overlap": 2}
    config = {"audio": audio, "model": model, "training": training, "inference": inference}
    (folder / "random_roformer.yaml").write_text(yaml.safe_dump(config))
    lists = {"roformer_download_list": {"Roformer Model: random": {weights.name: "random_roformer.yaml"}}}
    return of_audio_separator(folder, weights, lists, {})


def preset_of(row: str, **step: object) -> dict[str, object]:
    """One network over the mixture."""
    members = [{"model": row}]
    return {"steps": [{"name": "all", "input": "mixture", "members": members, **step}]}


PEERS = {
    "demucs": Peer(
        [],
        "htdemucs",
        {
            "challenge": "music",
            **preset_of(
                "htdemucs", stems=["bass", "drums", "other", "vocals"], overlap=0.25, normalise="mono"
            ),
        },
        of_demucs,
        lambda song, out: [str(song), "-o", str(out)],
        {stem: f"random/{{song}}/{stem}.wav" for stem in ("bass", "drums", "other", "vocals")},
    ),
    "audio-separator-mdx": Peer(
        AUDIO_SEPARATOR,
        "Kim_Inst",
        {
            "stems": ["vocals", "instrumental"],
            **preset_of("Kim_Inst@uvr", stems=["instrumental"], residual="vocals", overlap=0.25),
        },
        of_mdx,
        lambda song, out: [str(song), "--output_dir", str(out)],
        {"instrumental": "{song}_(Instrumental)_{model}.wav", "vocals": "{song}_(Vocals)_{model}.wav"},
    ),
    "audio-separator-roformer": Peer(
        AUDIO_SEPARATOR,
        "melband-kim",
        {
            "stems": ["vocals", "instrumental"],
            **preset_of("melband-kim", stems=["vocals"], residual="instrumental", overlap=0.5),
        },
        of_roformer,
        lambda song, out: [str(song), "--output_dir", str(out)],
        {"vocals": "{song}_(vocals)_{model}.wav", "instrumental": "{song}_(other)_{model}.wav"},
    ),
}


@dataclass(frozen=True)
class Run:
    """A command from start to end. cpu_seconds: of all its processes. peak_bytes: of all of them at one time."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def timed(command: Sequence[str], folder: Path) -> Run:
    """Raises SystemExit with what it said if it fails."""
    log = folder / "said.txt"
    before, start = os.times(), time.perf_counter()
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
        peak = 0
        while process.poll() is None:
            peak = max(peak, proportional_bytes({process.pid, *descendants(process.pid)}))
            time.sleep(LOOK_SECONDS)
    seconds, after = time.perf_counter() - start, os.times()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{log.read_text()[-4000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(seconds, cpu, peak)


def environment(packages: Sequence[str]) -> str:
    """The interpreter of an environment that has ours, and these packages besides."""
    name = hashlib.sha256("\n".join(packages).encode()).hexdigest()[:8] if packages else "ours"
    folder = ROOT / ".cache" / "peers" / name
    python, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "ours.pth").write_text(
            "\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n"
        )
        for name, text in TORCHVISION.items():
            (site / "torchvision").mkdir(exist_ok=True)
            (site / "torchvision" / name).write_text(text)
        if packages:
            install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", *packages]
            subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
        done.touch()
    return str(python)


def song_of(seconds: float, folder: Path) -> Path:
    """Noise that rises and falls; as loud as can be, since random networks leave little of it."""
    random = np.random.default_rng(0)
    count = int(seconds * RATE_HZ)
    level = 0.4 * (1.2 + np.sin(np.arange(count) / RATE_HZ))
    path = folder / "song.wav"
    soundfile.write(path, level[:, None] * random.uniform(-1, 1, (count, 2)), RATE_HZ, subtype="FLOAT")
    return path


def opened(peer: Peer, folder: Path) -> tuple[list[str], list[str]]:
    """The beginnings of both command lines, theirs and ours, with all that they need in `folder`."""
    checkpoint: Checkpoint = load_manifest().checkpoints[peer.row]
    weights = full_size_checkpoint(checkpoint)
    theirs = folder / "theirs"
    theirs.mkdir()
    preset = folder / "peer.yaml"
    row = peer.row.split("@")[0]
    own = yaml.safe_load((ROOT / "weights" / "manifest.yaml").read_text())["checkpoints"][row]
    own = {
        key: value
        for key, value in own.items()
        if key not in ("bytes", "sha256", "tail_md5", "origins", "file")
    }
    manifest = {"checkpoints": {f"random-{row}": {**own, "path": str(weights)}}}
    (folder / "rows.yaml").write_text(yaml.safe_dump(manifest))
    text = yaml.safe_dump({**peer.preset, "manifest": "rows.yaml"}, sort_keys=False)
    preset.write_text(text.replace(f"model: {row}", f"model: random-{row}"))
    ours = [sys.executable, "-m", "my_submission", "separate", "--preset", str(preset), "--overwrite"]
    return [environment(peer.packages), *peer.prepare(theirs, weights)], ours


def least_agreement(peer: Peer, theirs: Path, ours: Path, model: str) -> float:
    """Of the stems, in dB, after the gain that fits best: audio-separator brings loud stems to full scale."""
    found = []
    for stem, name in peer.stems.items():
        expected = soundfile.read(theirs / name.format(song="song", model=model), dtype="float32")[0]
        made = soundfile.read(ours / "song" / f"{stem}.wav", dtype="float32")[0]
        gain = float((expected * made).sum() / np.square(made).sum())
        found.append(agreement(torch.from_numpy(expected), torch.from_numpy(gain * made)))
    return min(found)


def measure(name: str, seconds: float, repeats: int) -> str:
    """A row of the table."""
    peer = PEERS[name]
    with TemporaryDirectory() as place:
        folder = Path(place)
        song = song_of(seconds, folder)
        theirs, ours = opened(peer, folder)
        os.environ["PYTHONPATH"] = str(ROOT)
        runs: dict[str, list[Run]] = {"theirs": [], "ours": []}
        for _ in range(repeats):
            runs["theirs"].append(timed([*theirs, *peer.command(song, folder / "out-theirs")], folder))
            runs["ours"].append(timed([*ours, str(song), "-o", str(folder / "out-ours")], folder))
        model = Path(load_manifest().checkpoints[peer.row].file).stem
        close = least_agreement(peer, folder / "out-theirs", folder / "out-ours", model)
    wall, cpu, peak = (
        [statistics.median(getattr(run, of) for run in runs[side]) for side in ("theirs", "ours")]
        for of in ("seconds", "cpu_seconds", "peak_bytes")
    )
    return (
        f"| {name} | {seconds:g} | {wall[0]:.1f} | {wall[1]:.1f} | {wall[0] / wall[1]:.2f} "
        f"| {cpu[0]:.0f}, {cpu[1]:.0f} | {peak[0] / 2**30:.1f}, {peak[1] / 2**30:.1f} | {close:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)}; default: all")
    parser.add_argument(
        "--seconds", type=allowed.seconds, nargs="+", default=[20.0, 120.0], help="default: 20 and 120"
    )
    parser.add_argument("--repeats", type=positive, default=1)
    options = parser.parse_args()
    for name in options.peers:
        if name not in PEERS:
            parser.error(f"PEER: expected one of {', '.join(PEERS)}, found {name!r}")
    print(
        "| peer | audio, s | its wall, s | `separate`, s | ratio | CPU s, its and ours | peak GiB, its and ours "
        "| agreement, dB |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in options.peers or PEERS:
        for seconds in options.seconds:
            print(measure(name, seconds, options.repeats), flush=True)


if __name__ == "__main__":
    main()
