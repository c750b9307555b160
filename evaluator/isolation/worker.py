"""The child's main: import the submission, construct it once, then separate a track for each request.

Run as a script with the submission's folder as the current one. It must not import anything of `evaluator`,
and the kit is taken off its path, so that another submission's `my_submission` is the only one.

Arguments: the submission's folder, the folder of mixtures, the folder for predictions, our aicrowd_wrapper.py
(for submissions without one), and the stems to be made where they are no challenge's. Requests come as JSON lines
on standard input, events go as JSON lines to what was standard output; both are kept from the submission, whose own
output all goes to standard error. Nothing of the submission runs before the first request: "describe", which only
imports it, "list_weights", or "construct".
"""

import contextlib
import faulthandler
import importlib
import importlib.util
import inspect
import io
import json
import os
import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

WRAPPER = "my_submission.aicrowd_wrapper"
PEAK_RESET = "5"  # clear_refs: forget the peak resident size


def main(submission: str, mixtures: str, predictions: str, own_wrapper: str, *stems: str) -> int:
    """Serve requests until standard input closes; 1 if the submission cannot be imported or constructed."""
    requests, events = _take_streams()
    faulthandler.enable()
    asked = json.loads(next(requests, "{}")).get("op")
    nonfinite: list[str] = []
    try:
        _put_on_path(submission)
        if asked == "list_weights":
            _send(events, {"event": "listed", **_listed_weights()})
            return 0
        model_class = importlib.import_module("my_submission.user_config").MySeparationModel
        if asked == "describe":
            _send(events, {"event": "described", **_description(model_class)})
            return 0
        _watch_results(model_class, nonfinite)
        wrapper_class = _wrapper_class(Path(submission), Path(own_wrapper), stems)
        wrapper = wrapper_class(dataset_dir=mixtures, predictions_dir=predictions)
        _watch_own_method(getattr(wrapper, "model", None), nonfinite)
    except BaseException as error:
        _send(events, _failure("setup", error))
        return 1
    _send(events, {"event": "ready", "provenance": _provenance(wrapper)})
    for line in requests:
        folder = json.loads(line)["folder"]
        nonfinite.clear()
        _reset_peak()
        try:
            wrapper.separate_music_file(folder)
        except BaseException as error:
            _send(events, _failure("track", error))
            continue
        finally:
            _flush()
        _send(
            events,
            {
                "event": "done",
                "folder": folder,
                "nonfinite": sorted(set(nonfinite)),
                "peak_memory_bytes": _peak_bytes(),
                "provenance": _provenance(wrapper),
            },
        )
    return 0


def _description(model_class: type) -> dict[str, Any]:
    """What a submission makes, by its class: a challenge's name, or stems; None for what it does not say."""
    track, stems = (getattr(model_class, name, None) for name in ("track", "stems"))
    listed = [str(stem) for stem in stems] if isinstance(stems, list | tuple) else None
    return {"track": track if isinstance(track, str) else None, "stems": listed}


def _listed_weights() -> dict[str, Any]:
    """What `python -m my_submission weights list --submitted --json` prints, and its exit code."""
    sys.argv[:] = ["my_submission", "weights", "list", "--submitted", "--json"]
    printed = io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(printed):
        try:
            runpy.run_module("my_submission", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            code = ended.code
    return {"failed": code not in (0, None), "text": printed.getvalue()}


def _put_on_path(submission: str) -> None:
    """Have modules looked for in the submission, and not in the kit that evaluates it.

    An installed kit is on everybody's path. Its `my_submission` is a regular package, which Python prefers to one
    without `__init__.py`, as the organisers' starter kit has it, wherever that stands on the path.
    """
    kit = Path(__file__).resolve().parents[2]
    sys.path[:] = [submission, *(entry for entry in sys.path if Path(entry).resolve() != kit)]


def _take_streams() -> tuple[Iterator[str], TextIO]:
    """Move requests and events to descriptors of their own; output of the submission goes to standard error."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    return iter(requests.readline, ""), events


def _send(events: TextIO, event: Mapping[str, Any]) -> None:
    events.write(json.dumps(event) + "\n")
    events.flush()


def _flush() -> None:
    """What the submission has printed goes to the log, unless it has closed its streams, or set them to None."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _log(error: BaseException) -> None:
    """The traceback goes to the log, unless the submission has closed that."""
    with contextlib.suppress(Exception):
        traceback.print_exception(error)


def _failure(where: str, error: BaseException) -> dict[str, Any]:
    """The event for an exception of the submission; its traceback goes to the log."""
    _log(error)
    memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's
    try:
        said = str(error)
    except Exception:
        said = "(it cannot be shown as text)"
    first_line = (said.encode(errors="backslashreplace").decode().splitlines() or [""])[0]
    return {
        "event": "failed",
        "where": where,
        "error": f"{type(error).__name__}: {first_line}"[:500].rstrip(": "),
        "out_of_memory": memory,
    }


def _wrapper_class(submission: Path, own_wrapper: Path, stems: Sequence[str]) -> type:
    """The submission's own wrapper, or ours; for stems that no wrapper of the organisers knows, always ours."""
    if stems:
        ours: type = _our_wrapper(own_wrapper).AIcrowdWrapper
        return type(ours.__name__, (ours,), {"allowed_instruments": (set(stems),)})
    own = (submission / "my_submission" / "aicrowd_wrapper.py").exists()
    module = importlib.import_module(WRAPPER) if own else _our_wrapper(own_wrapper)
    return module.AIcrowdWrapper  # type: ignore[no-any-return]


def _our_wrapper(own_wrapper: Path) -> ModuleType:
    """Our wrapper module loaded under its usual name over the submission's package."""
    spec = importlib.util.spec_from_file_location(WRAPPER, own_wrapper)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[WRAPPER] = module
    spec.loader.exec_module(module)
    return module


class _Watched:
    """`separate_music_file`, noting stems that hold NaN or infinity: a 16-bit file, which the wrapper writes, cannot.

    It stands for whatever was there: a function, a static or class method, or a callable of the model's own.
    """

    def __init__(self, method: Any, nonfinite: list[str]) -> None:
        self._method = method
        self._nonfinite = nonfinite

    def __get__(self, model: Any, owner: type | None = None) -> Any:
        bind = getattr(type(self._method), "__get__", None)
        return self if bind is None else _Watched(bind(self._method, model, owner), self._nonfinite)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        result = self._method(*arguments, **keywords)
        if isinstance(result, tuple | list) and result and isinstance(result[0], Mapping):
            self._nonfinite.extend(str(stem) for stem, array in result[0].items() if not _all_finite(array))
        return result


def _watch_results(model_class: type, nonfinite: list[str]) -> None:
    """Note what is not finite in all that models of this class return."""
    with contextlib.suppress(AttributeError):
        model_class.separate_music_file = _Watched(  # type: ignore[attr-defined]
            inspect.getattr_static(model_class, "separate_music_file"), nonfinite
        )


def _watch_own_method(model: Any, nonfinite: list[str]) -> None:
    """The same where the method is not the class's: the model has its own, or was made by a function."""
    method = getattr(model, "separate_music_file", None)
    if method is not None and not isinstance(method, _Watched):
        with contextlib.suppress(AttributeError):  # a model that takes no more attributes
            model.separate_music_file = _Watched(method, nonfinite)


def _all_finite(array: Any) -> bool:
    import numpy as np  # the submission has paid for it by now

    values = np.asarray(array)
    if not np.issubdtype(values.dtype, np.floating):
        return True
    return bool(np.isfinite(values.sum(dtype=np.float64))) or bool(np.isfinite(values).all())


def _provenance(wrapper: Any) -> Any:
    """What the submission says about itself (preset, weights, economies), or None."""
    provenance = getattr(getattr(wrapper, "model", None), "provenance", None)
    if provenance is None:
        return None
    try:
        return json.loads(json.dumps(provenance()))
    except Exception as error:
        _log(error)
        return None


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text(PEAK_RESET)
    except OSError:
        return  # no such file on this system; the supervisor's samples remain


def _peak_bytes() -> int:
    """Peak resident memory of this process since the last reset, mapped files left out; 0 if not known."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    kilobytes = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.endswith(" kB")}
    return 1024 * max(int(kilobytes.get("VmHWM", 0)) - int(kilobytes.get("RssFile", 0)), 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
