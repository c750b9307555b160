"""`python -m my_submission studio`: parses and prints; the package does the work."""

import argparse
import signal
import sys
from importlib.util import find_spec

from my_submission.commands.separate_page import open_in_browser
from my_submission.ensemble.preset import PresetError, checkpoint_rows
from my_submission.ensemble.preset_reader import called, load_preset
from my_submission.files.default_preset import configured_preset
from my_submission.files.errors import FileSeparationError
from my_submission.files.model import ModelChoice
from my_submission.files.options import FileOptions
from my_submission.files.stems import needed_stems, parse_stems
from my_submission.locations import IS_INSTALLED
from my_submission.weights import WeightsError
from my_submission.weights.required import require
from sdx.terminal import lines, one_line

_NEEDED = ("starlette", "uvicorn")  # of the extra `service`


def run(options: argparse.Namespace) -> int:
    """0: ended by Ctrl-C; 1: it cannot start; 2: impossible options."""
    if missing := [package for package in _NEEDED if find_spec(package) is None]:
        how = "'sdx23-kit[service]'" if IS_INSTALLED else "-r evaluator/service/requirements.txt"
        print(f"error: the studio needs {', '.join(missing)}; pip install {how}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    hang_up = getattr(
        signal, "SIGHUP", None
    )  # of a terminal that is closed; Windows has none, nohup ignores it
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        signal.signal(hang_up, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        return _serve(options)
    except WeightsError as error:  # a list of what is missing, and what fetches it
        print(lines(f"error: {error}"), file=sys.stderr)
        return 1
    except (PresetError, FileSeparationError) as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return 1
    except ValueError as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return 2


def _serve(options: argparse.Namespace) -> int:
    from my_submission.studio.desk import Work
    from my_submission.studio.serving import bind, run, studio_folder

    name = options.preset or configured_preset(options.weights_dir)
    preset = load_preset(name)
    sums = parse_stems(options.stems, preset.instruments)
    output = FileOptions(options.stems, options.format, bitrate=options.bitrate, clipping="scale")
    require(checkpoint_rows(preset), weights_dir=options.weights_dir, preset=called(preset), verify=False)
    choice = ModelChoice(name, options.device, weights_dir=options.weights_dir, stems=needed_stems(sums))
    about = f"Preset {preset.name}: {preset.description or ', '.join(preset.instruments)}."

    def tell(link: str) -> None:
        print(one_line(f"{about} Ctrl-C ends the studio. Its page, for nobody but you:"))
        print(link, flush=True)
        if options.open:
            open_in_browser(link)

    with studio_folder(options.keep) as root, bind(options.port) as listening:
        run(Work(root, choice, output, tuple(sums), keeps=options.keep is not None), listening, about, tell)
    if options.keep is not None:
        print(one_line(f"stems are in {options.keep}"))
    return 0
