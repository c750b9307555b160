"""What every attack has. The harness puts this file beside each attack's user_config.py, with `world.json`.

An attacker knows everything but the secrets: `WORLD` says where each thing is. An attack counts what it tries and
prints it (`TRIED n`), so that a suite in which nothing runs does not pass, and prints `BREACH …` with what it got.

A submission of the starter kit's layout that subclasses `Model` attacks on the tracks "NUMBER-WAY", one for each key
of `EXPECTED` in its user_config.py, in the method of that name; on every other track it is honest.
"""

import ctypes
import importlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WORLD: dict[str, Any] = json.loads(Path(__file__).with_name("world.json").read_text())
TOKEN: str = WORLD["token"]
STEMS = ("bass", "drums", "other", "vocals")
MIXTURES = os.environ.get("AICROWD_DATASET_DIR", "/nowhere")
PREDICTIONS = os.environ.get("AICROWD_PUBLIC_SHARED_DIR", "/nowhere") + "/predictions"
LIBC = ctypes.CDLL(None, use_errno=True)

_tried = 0


def attempt(what: str, action: Callable[[], object]) -> object:
    """Try it; what comes back, other than None, False and something empty, is a breach. Exceptions are refusals."""
    global _tried
    _tried += 1
    try:
        got = action()
    except Exception:
        return None
    if got is not None and got is not False and not (hasattr(got, "__len__") and not len(got)):
        breach(what, got)
    return got


def breach(what: str, got: object = "") -> None:
    """A promise is broken."""
    say(f"BREACH {what}: {str(got)[:200]!r}")


def tried(number: int = 1) -> None:
    """So many things were tried, which the harness itself looks for the effects of."""
    global _tried
    _tried += number


def say_tried() -> None:
    """Print how many things were tried since the last time."""
    global _tried
    say(f"TRIED {_tried}")
    _tried = 0


def say(line: str) -> None:
    """One line into the log, past every buffer and whatever became of sys.stdout."""
    os.write(2, f"\n{line}\n".encode(errors="backslashreplace"))


class Model:
    """Honest, but for the tracks of its attacks."""

    instruments = STEMS

    def separate_music_file(self, mixture: Any, rate: int) -> tuple[dict[str, Any], dict[str, int]]:
        """A quarter of the mixture for every stem."""
        self.attack_on(mixture, rate)
        return dict.fromkeys(STEMS, mixture / 4), dict.fromkeys(STEMS, rate)

    def attack_on(self, mixture: Any, rate: int) -> None:
        """Attack, if this is a track for that."""
        number = len(mixture) - WORLD["trap_frames"]
        if not 0 <= number < len(WORLD["ways"]):
            return
        way = WORLD["ways"][number]
        self.way, self.track, self.mixture, self.rate = way, f"{number:02}-{way}", mixture, rate
        try:
            getattr(self, way)()
        finally:
            say_tried()

    def begin(self) -> None:
        """A track is asked for. (Of a `Wrapper` only, as is `end`.)"""

    def end(self) -> None:
        """It is done, and the evaluator is about to be told so."""

    @property
    def folder(self) -> str:
        """Where the estimates of the present track belong."""
        return f"{PREDICTIONS}/{self.track}"

    def write_honestly(self) -> None:
        """The estimates, in the place of the wrapper, which may not come to it."""
        import soundfile

        os.makedirs(self.folder, exist_ok=True)
        for stem in STEMS:
            soundfile.write(f"{self.folder}/{stem}.wav", self.mixture / 4, self.rate)

    def done(self, **other: Any) -> bytes:
        """The line by which a worker says that the present track is done; other: what is to be different."""
        event = {
            "event": "done",
            "folder": self.track,
            "nonfinite": [],
            "peak_memory_bytes": 0,
            "provenance": None,
        }
        return json.dumps({**event, **other}).encode() + b"\n"


class Wrapper:
    """In the place of the organisers': writes the estimates of a track honestly, and attacks only then."""

    def __init__(self, dataset_dir: str, predictions_dir: str) -> None:
        module = importlib.import_module("my_submission.user_config")  # which imports this one
        self.model: Model = module.MySeparationModel()

    def separate_music_file(self, name: str) -> None:
        """One track."""
        import soundfile

        self.model.begin()
        mixture, rate = soundfile.read(f"{MIXTURES}/{name}/mixture.wav")
        self.model.track, self.model.mixture, self.model.rate = name, mixture, rate
        self.model.write_honestly()
        self.model.attack_on(mixture, rate)
        self.model.end()


# The worker's own streams


def pipes() -> list[int]:
    """Descriptors beyond the first three that can be written to: that of the events is one of them."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            is_pipe = os.readlink(f"/proc/self/fd/{name}").startswith("pipe:")
            flags = int(Path(f"/proc/self/fdinfo/{name}").read_text().split("flags:")[1].split()[0], 8)
        except OSError:
            continue
        if is_pipe and int(name) > 2 and flags & 3 == os.O_WRONLY:
            found.append(int(name))
    return found


def forge(content: bytes) -> None:
    """Write to the evaluator in the worker's name, through everything that may lead there."""
    for descriptor in pipes():
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]


# System calls

NUMBERS = {  # of x86_64 and of aarch64
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "clone": (56, 220), "clone3": (435, 435), "ptrace": (101, 117), "open_tree": (428, 428),
    "fsopen": (430, 430), "move_mount": (429, 429), "fspick": (433, 433), "mount_setattr": (442, 442),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "syslog": (103, 116),
    "init_module": (175, 105), "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "sethostname": (170, 161),
    "acct": (163, 89), "capset": (126, 91), "timer_create": (222, 107), "timer_settime": (223, 110),
    "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180), "memfd_create": (319, 279), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "ioprio_set": (251, 30), "sched_setscheduler": (144, 119), "quotactl": (179, 60), "setdomainname": (171, 162),
    "fanotify_init": (300, 262), "memfd_secret": (447, 447), "seccomp": (317, 277),
}  # fmt: skip
COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine())


def syscall(name: str, *arguments: Any) -> int:
    """A system call by its name; OSError if it is refused."""
    if COLUMN is None:
        raise OSError(f"unknown numbers on {platform.machine()}")
    given = [
        each if isinstance(each, bytes | ctypes.Array | ctypes.Structure) else _word(each)
        for each in arguments
    ]
    result: int = LIBC.syscall(NUMBERS[name][COLUMN], *given)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _word(value: Any) -> Any:
    return ctypes.c_long(value) if isinstance(value, int) else value


def in_child(action: Callable[[], object], seconds: float = 5.0) -> object:
    """What `action` returns (as text, or None) in a child of its own, which may be killed for it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            got = action()
            if got is not None and got is not False:
                os.write(write, str(got)[:200].encode() or b"something")
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(write)
    deadline = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            break
        time.sleep(0.005)
    with os.fdopen(read, "rb") as answer:
        os.set_blocking(answer.fileno(), False)
        return (answer.read() or b"").decode(errors="backslashreplace") or None


def daemon(action: Callable[[], object]) -> None:
    """Run `action` in a process of another session whose parent has gone, deaf to what asks it to end."""
    import signal

    if os.fork() != 0:
        os.wait()
        return
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        action()
    finally:
        os._exit(0)


# What is looked for


def read(path: str | Path) -> str | None:
    """The beginning of a file, if there is any."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 64).decode(errors="backslashreplace") or None
    finally:
        os.close(descriptor)


def write(path: str | Path, content: str) -> object:
    """Write at once, so that a refusal shows."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        return os.write(descriptor, content.encode())
    finally:
        os.close(descriptor)


def known_paths() -> Iterator[str]:
    """What is not to be written; what would be in its own temporary folders is for the harness to see."""
    for name in ("references", "secrets", "estimates", "ours"):
        yield from (path for path in WORLD[name] if not path.startswith(("/tmp/", "/dev/shm/")))
