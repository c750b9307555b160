"""`python -m evaluator submit`: check what would be submitted, show it, ask, tag, push."""

import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from evaluator import printable
from evaluator.commands import Subparsers, converters
from evaluator.locations import submission_folder
from evaluator.running.options import RUNNERS
from evaluator.submitting import dry_run, submit
from evaluator.submitting.checklist import REMOTES, Intent, Preflight, check
from evaluator.submitting.git import SUBMISSION_PREFIX, GitError, Repository
from evaluator.submitting.preflight import Check
from sdx.terminal import INTERRUPTED

MARKS = {"ok": "[ok]  ", "warning": "[look]", "failed": "[FAIL]", "skipped": "[ -- ]"}
DONE, FAILED, UNUSABLE = 0, 1, 2


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "submit",
        description="Check the current commit, tag it submission-NAME, and push it to the organisers.",
        epilog="Exit codes: 0 done; 1 a check or the push failed, nothing was changed; 2 wrong usage.",
    )
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="the tag will be submission-NAME")
    add("--check", action="store_true", help="only run the checklist")
    converters.add_challenge(parser, default="that of the configured preset")
    remotes = ", ".join(f"{remote} for {challenge}" for challenge, remote in REMOTES.items())
    add("--remote", metavar="REMOTE", help=f"default: {remotes}")
    add("--runner", choices=RUNNERS, default="process", help="for the dry run (default: %(default)s)")
    add("--data", type=Path, metavar="DIR", help="tracks for the dry run (default: the demo tracks)")
    add("--no-dry-run", action="store_true", help="do not evaluate a track first")
    add("--yes", action="store_true", help="do not ask before pushing")
    add(
        "--submission",
        type=Path,
        metavar="DIR",
        default=submission_folder(),
        help="its repository (default: this one)",
    )
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    name: str | None = options.name
    if name is None and not options.check:
        return _unusable("give the submission a NAME, or use --check")
    if name is not None and name.startswith(SUBMISSION_PREFIX):
        return _unusable(f"{name}: give the name without {SUBMISSION_PREFIX}")
    trial = dry_run.skipped if options.no_dry_run else dry_run.DryRun(options.runner, options.data)
    try:
        root = Path(Repository(options.submission.resolve()).text("rev-parse", "--show-toplevel"))
    except GitError as error:
        return _unusable(f"{options.submission}: {error}; expected a clone of your submission's repository")
    try:
        intent = Intent(Repository(root), name, options.challenge, options.remote, trial)
        found = check(intent, lambda item: print(printable.lines(_describe(item)), flush=True))
        if options.check or not found.passed:
            print("ready to submit" if found.passed else "not ready: see [FAIL] above; nothing was changed")
            return DONE if found.passed else FAILED
        assert name is not None
        return _submit(intent.repository, name, found, (lambda: True) if options.yes else _confirmed)
    except GitError as error:
        return _unusable(str(error))
    except KeyboardInterrupt:
        print("interrupted; nothing was changed", file=sys.stderr)
        return INTERRUPTED


def _unusable(message: str) -> int:
    print(f"error: {printable.lines(message)}", file=sys.stderr)
    return UNUSABLE


def _describe(item: Check) -> str:
    """A line of the checklist, and what to do about it on another."""
    line = f"{MARKS[item.state]} {item.name}: {item.found}"
    return f"{line}\n       -> {item.advice}" if item.advice and item.state != "ok" else line


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        print("error: there is no terminal to ask at; give --yes", file=sys.stderr)
        return False
    return input("push this? [y/N] ").strip().lower() in ("y", "yes")


def _submit(repository: Repository, name: str, found: Preflight, confirmed: Callable[[], bool]) -> int:
    """Show what goes where, ask, tag, push; on any failure the tag is removed again. The exit code."""
    target, branch = found.target, found.branch
    assert target is not None
    assert branch is not None
    tag = f"{SUBMISSION_PREFIX}{name}"
    push = next(item for item in found.checks if item.name == "push")
    print(f"\nto {target.remote.name} ({target.remote.shown}):")
    print(f"  branch {branch} and tag {tag}, both at {found.commit[:12]}; {push.found}")
    if not confirmed():
        print("not submitted; nothing was changed")
        return FAILED
    try:
        submit.publish(repository, target, found.commit, branch, tag, sys.stderr)
    except GitError as error:
        print(
            f"error: {printable.lines(str(error))}\nnot submitted; the tag is removed again", file=sys.stderr
        )
        return FAILED
    page = target.remote.web_page
    print(f"submitted as {tag}; watch {page}/-/issues" if page else f"submitted as {tag} to a folder")
    return DONE
