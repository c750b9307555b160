"""Runs an attack as a user would, and says which promises it broke.

An attack is a folder in attacks/ in the starter kit's layout. Its user_config.py states, as literals:

`EXPECTED`  how each of its tracks ends: {way: status, or several that will do}; each way is a method of the model
`OPTIONS`   options of the command line, besides those that say what is evaluated on what
`EXIT`      the exit code, if it is another than the statuses lead to
`SAYS`      what must stand in what is printed, with the reasons of failures
`UNLESS`    {field of the run's `isolation`: values with which its breaches count}; with another, the run says what
            is not held, and that is checked instead
`TWICE`     to be run twice in one world
`SLOWLY`    the evaluator is slowed down after each track, so that there is time between two
`SYSTEMS`   on which it is tried, of "root", "user", "bare" (without namespaces) and "docker"; all but "bare"
`HONEST`    the scores may be any: it tells what it likes about its own work
`CONTAINED` the ways that are tried in containers; without, all that do no harm to the session and FEW of the others,
            since each of those costs a container

and in its docstring the promises of SECURITY.md that it attacks, by their numbers. A file prepare.py beside
my_submission/ has `prepare(world)`, which adds what the user or the submission's author would have done before.
"""

import ast
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evaluator.isolation import namespaces
from evaluator.locations import REPOSITORY
from evaluator.runs import results
from evaluator.runs.run_folder import RESULT_FILE
from tests.isolation import systems, world
from tests.isolation.world import World

HERE = Path(__file__).parent
ATTACKS = HERE / "attacks"
PRODUCT_SECONDS = 90.0  # no attack keeps an evaluation longer
IMAGE_FACTOR = 4  # with an image to build, and an engine that starts containers one after the other
GONE_SECONDS = 10.0
MOST_ADDRESSES = 8 << 30
SLOW_STEPS, SLOW_SECONDS, STEP_SECONDS = 6, 0.08, 0.0005
MOST_COMPUTED_SECONDS = (
    0.1  # of the half second in which it should stand still; a busy machine stops it later
)
WOKEN_SECONDS = 0.015  # by which one process may see later than another that they go on
FEW = 2
SYSTEMS = ("root", "user", "docker")
TIME_FACTOR = "60"  # half a minute for the half second of a trap; attacks on time set their own
UNWANTED = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # kinds of characters with which a terminal is made to lie
PROGRESS = "\r\n"
FORGED = "99.000"  # stands in every sentence that imitates one of ours
OWN_LINES = re.compile(
    r" {4}|\S+: (crashed|timeout|invalid_output|out_of_memory|out_of_disk), "
    r"|\S+ +(crashed|timeout|invalid_output|out_of_memory|out_of_disk|late) "  # its row of the table, with the reason
    r"|To be in time, less was computed for [^:]+: |the submission|The submission's forecast: |what lies"
)


@dataclass(frozen=True)
class Attack:
    """One folder of attacks/."""

    folder: Path
    promises: tuple[int, ...]
    what: str
    expected: Mapping[str, tuple[str, ...]]
    options: tuple[str, ...] = ()
    exit_code: int | None = None
    says: tuple[str, ...] = ()
    unless: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    twice: bool = False
    honest: bool = False
    systems: tuple[str, ...] = SYSTEMS
    slowly: bool = False
    contained: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.folder.name

    def on(self, system: str) -> "Attack":
        """The attack as it is tried on a system: in containers, with fewer ways."""
        if system != "docker":
            return self
        failing = [way for way, statuses in self.expected.items() if "ok" not in statuses]
        kept = self.contained or [way for way in self.expected if way not in failing[FEW:]]
        return replace(self, expected={way: self.expected[way] for way in kept})


def read(folder: Path) -> Attack:
    """The attack in a folder, without running anything of it."""
    tree = ast.parse((folder / "my_submission" / "user_config.py").read_text())
    text = ast.get_docstring(tree) or ""
    stated: dict[str, Any] = {}
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id.isupper()
        ):
            try:
                stated[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue  # a constant of the attack's own
    numbers, what = re.fullmatch(r"Promises? ([\d, and]+): (.*)", text.splitlines()[0]).groups()  # type: ignore[union-attr]
    expected = stated.get("EXPECTED", {"attack": "ok"})
    return Attack(
        folder=folder,
        promises=tuple(int(number) for number in re.findall(r"\d+", numbers)),
        what=what,
        expected={way: (one,) if isinstance(one, str) else tuple(one) for way, one in expected.items()},
        options=tuple(stated.get("OPTIONS", ())),
        exit_code=stated.get("EXIT"),
        says=tuple(stated.get("SAYS", ())),
        unless=stated.get("UNLESS", {}),
        twice=stated.get("TWICE", False),
        honest=stated.get("HONEST", False),
        systems=tuple(stated.get("SYSTEMS", SYSTEMS)),
        slowly=stated.get("SLOWLY", False),
        contained=tuple(stated.get("CONTAINED", ())),
    )


def all_attacks() -> list[Attack]:
    """In the order of their names."""
    return [read(folder) for folder in sorted(ATTACKS.iterdir()) if (folder / "my_submission").is_dir()]


@dataclass(frozen=True)
class Ran:
    """What an evaluation left."""

    code: int
    printed: bytes
    seconds: float
    result: Mapping[str, Any] | None
    logs: Mapping[str, str]
    finished: Mapping[str, int]  # when tracks were done, in nanoseconds; of slow runs only
    children: set[int]  # processes that the evaluator started itself, supervisors among them

    @property
    def tracks(self) -> dict[str, Mapping[str, Any]]:
        return {} if self.result is None else {track["name"]: track for track in self.result["tracks"]}

    def said(self, word: str) -> list[str]:
        """Lines that begin with a word, of every log and of what was printed."""
        text = "\n".join([*self.logs.values(), self.printed.decode(errors="replace")])
        return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip().startswith(word)]


def lay_out(attack: Attack, victim: World, system: str) -> None:
    """The submission's folder, with what it knows."""
    shutil.copytree(attack.folder, victim.submission, symlinks=True)
    package = victim.submission / "my_submission"
    shutil.copyfile(HERE / "attack.py", package / "attack.py")
    (package / "world.json").write_text(json.dumps({**victim.described(), "system": system}))
    if system == "docker":
        (victim.submission / "requirements.txt").write_text("numpy\nsoundfile\n")
    if (prepare := victim.submission / "prepare.py").exists():
        spec = importlib.util.spec_from_file_location("prepare", prepare)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.prepare(victim)
        prepare.unlink()


def command(attack: Attack, victim: World, system: str) -> list[str]:
    """What the user calls."""
    what = ["--submission", str(victim.submission), "--data", str(victim.data), "--track", "music"]
    if "--time-factor" not in attack.options:
        what += ["--time-factor", TIME_FACTOR]
    if "--bare" in attack.options:
        what = ["--submission", str(victim.submission)]
    evaluate = [sys.executable, str(REPOSITORY / "run_eval.py"), *what, "--out", str(victim.out)]
    evaluate += [option for option in attack.options if option != "--bare"]
    if system == "docker":
        evaluate += ["--runner", "docker"]
    if system == "user" and os.geteuid() == 0:
        return systems.as_user(evaluate, victim.root / "stage")
    return evaluate


def run(
    victim: World, call: Sequence[str], more: Mapping[str, str] | None = None, slowly: bool = False
) -> Ran:
    """Evaluate, as a process of its own."""
    started = time.monotonic()
    process = subprocess.Popen(
        call,
        cwd=victim.root,
        env={**victim.environment(), **(more or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_limit,
    )
    children = systems.Children(process)
    finished: dict[str, int] = {}
    most_seconds = PRODUCT_SECONDS * (IMAGE_FACTOR if "docker" in call else 1)
    if slowly:
        threading.Thread(target=_slow_down, args=(process, victim, finished), daemon=True).start()
    try:
        printed, _ = process.communicate(timeout=most_seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            printed, _ = process.communicate(timeout=PRODUCT_SECONDS / 3)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, _ = process.communicate()
        printed += b"\nTHE EVALUATION DID NOT END\n"
    seconds = time.monotonic() - started
    result = json.loads(file.read_text()) if (file := victim.out / RESULT_FILE).exists() else None
    logs = {
        path.stem: path.read_text(errors="replace")
        for path in (*victim.out.glob("setup*.log"), *(victim.out / "logs").glob("*.log"))
    }
    return Ran(process.returncode, printed, seconds, result, logs, finished, children.seen())


def _limit() -> None:
    """An attack that makes the evaluator read without end is to end the evaluator, and not this machine.

    And it ends when we are killed: `_slow_down` may just have stopped it, and it would stand still for ever, deaf to
    SIGTERM.
    """
    import resource  # not there on Windows, where nothing of this runs

    namespaces.die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _slow_down(process: "subprocess.Popen[bytes]", victim: World, finished: dict[str, int]) -> None:
    """Let the evaluator go in small steps after each track, from the moment at which it writes the track's log.

    finished: takes these moments, by the track's name.
    """
    steps = 0
    while process.poll() is None:
        for name in {path.stem for path in (victim.out / "logs").glob("*.log")} - finished.keys():
            finished[name] = time.monotonic_ns()
            steps = SLOW_STEPS
        if steps:
            steps -= 1
            process.send_signal(signal.SIGSTOP)
            time.sleep(SLOW_SECONDS)
            process.send_signal(signal.SIGCONT)
        time.sleep(STEP_SECONDS)


def computed_between_tracks(ran: Ran) -> list[str]:
    """By what an attack notes: "RAN way from to", and "NEXT way moment" when the next track was asked for."""
    problems = []
    spans = [line.split()[1:] for line in ran.said("RAN ")]
    for way, moment in (line.split()[1:] for line in ran.said("NEXT ")):
        finished = next((at for name, at in ran.finished.items() if name.partition("-")[2] == way), None)
        if finished is None:
            continue
        until = int(moment) - int(WOKEN_SECONDS * 1e9)
        overlaps = [
            min(int(end), until) - max(int(start), finished) for name, start, end in spans if name == way
        ]
        seconds = sum(max(overlap, 0) for overlap in overlaps) / 1e9
        if seconds > MOST_COMPUTED_SECONDS:
            gap = (int(moment) - finished) / 1e9
            problems.append(f"{way}: computed {seconds:.3f} s in the {gap:.3f} s between two tracks")
    return problems


def trial(
    attack: Attack, victim: World, system: str, more: Mapping[str, str] | None = None
) -> tuple[Ran, list[str]]:
    """Run an attack, and what is wrong afterwards."""
    places, below = systems.mounts(), systems.descendants()
    before, runs_before = world.snapshot(victim), world.rows(victim)
    more = {**(more or {}), **({"SDX_SANDBOX_WITHOUT": "namespaces"} if system == "bare" else {})}
    ran = run(victim, command(attack, victim, system), more, attack.slowly)
    problems = [
        *outcome_problems(attack, victim, ran),
        *printed_problems(ran),
        *breaches(attack, ran),
        *computed_between_tracks(ran),
        *score_problems(attack, ran),
        *world.changes(before, world.snapshot(victim)),
        *row_problems(victim, ran, runs_before),
        *(f"left behind: {what}" for what in world.left_behind(victim)),
        *(f"byte code was written: {path}" for path in world.poisoned(victim)),
        *(f"reached the daemon that listens on {name}" for name in victim.contacts),
        *(f"left mounted: {place}" for place in systems.mounts() - places if str(victim.root) in place),
        *not_gone("process", lambda: systems.described(systems.descendants() - below)),
        *(not_gone("container", lambda: systems.containers(victim.root)) if system == "docker" else []),
        *not_gone("control group", lambda: systems.control_groups(ran.children)),
    ]
    return ran, problems


def not_gone(what: str, look: Any) -> list[str]:
    """What is still there after a while."""
    deadline = time.monotonic() + GONE_SECONDS
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [f"left: {what} {each}" for each in found]


def outcome_problems(attack: Attack, victim: World, ran: Ran) -> list[str]:
    """Statuses, exit code, sentences."""
    problems = []
    text = ran.printed.decode(errors="replace")
    if "Traceback" in re.sub(r"(?m)^.*?    .*$", "", text.replace("\r", "\n")):
        problems.append("the evaluator ended with a traceback")
    if "DID NOT END" in text:
        problems.append("the evaluation did not end by itself")
    problems += [f"not said: {sentence!r}" for sentence in attack.says if not re.search(sentence, text)]
    if attack.exit_code != 2:  # then nothing was run of which there would be a log
        problems += (
            [] if any(not line.endswith(" 0") for line in ran.said("TRIED ")) else ["nothing was tried"]
        )
    if attack.exit_code is not None:
        return [*problems, *([] if ran.code == attack.exit_code else [f"exit code {ran.code}"])]
    wanted = {name: attack.expected[way] for name, way in zip(victim.tracks, victim.ways, strict=False)}
    for name, statuses in {**wanted, world.WELL: ("ok",)}.items():
        track = ran.tracks.get(name)
        if track is None or track["status"] not in statuses:
            found = "nothing" if track is None else f"{track['status']} ({track['reason']})"
            problems.append(f"{name}: {found}, expected {' or '.join(statuses)}")
    all_ok = all(track["status"] == "ok" for track in ran.tracks.values())
    if ran.code != (0 if all_ok else 1):
        problems.append(f"exit code {ran.code}")
    return problems


def printed_problems(ran: Ran) -> list[str]:
    """Nothing that the terminal obeys, and no sentence of the submission's in a place of ours."""
    text = ran.printed.decode(errors="surrogateescape")
    unwanted = {each for each in text if each not in PROGRESS and unicodedata.category(each) in UNWANTED}
    problems = [f"printed control characters: {sorted(map(hex, map(ord, unwanted)))}"] if unwanted else []
    lines = re.split(r"[\r\n]", text)
    problems += [
        f"printed as ours: {line[:100]!r}" for line in lines if FORGED in line and not OWN_LINES.match(line)
    ]
    return problems


def breaches(attack: Attack, ran: Ran) -> list[str]:
    """What it got; where this system cannot hold the promise, whether that was said."""
    found = ran.said("BREACH")
    if is_held(attack, ran):
        return found
    return (
        []
        if "Not held on this system" in ran.printed.decode(errors="replace")
        else ["what is not held was not said"]
    )


def is_held(attack: Attack, ran: Ran) -> bool:
    """Whether the run could hold what is attacked; else it said that it could not."""
    isolation = (ran.result or {}).get("isolation") or {}
    return all(isolation.get(name) in values for name, values in attack.unless.items())


def score_problems(attack: Attack, ran: Ran) -> list[str]:
    """Nobody scores more than the quarter of a mixture that every attack returns."""
    if attack.honest:
        return []
    return [
        f"{name}: {stem} scored {value} dB"
        for name, track in ran.tracks.items()
        for stem, value in (track.get("sdr") or {}).items()
        if value is not None and value > world.HONEST_DB
    ]


def row_problems(victim: World, ran: Ran, before: list[tuple[str, str]]) -> list[str]:
    """The leaderboard has the rows that it had, and the one of this run."""
    now = world.rows(victim)
    problems = [] if now[: len(before)] == before else ["the leaderboard's rows were changed"]
    new = [json.loads(document) for _, document in now[len(before) :]]
    if new and (len(new) > 1 or new[0]["tracks"] != (ran.result or {}).get("tracks")):
        problems.append("the leaderboard holds a row that this run did not make")
    return problems


def result_of(victim: World) -> results.Result:
    """The run's result, as the evaluator reads it."""
    return results.read(victim.out / RESULT_FILE)
