"""The repository as it came with the submission."""

import os
import subprocess

from tests.isolation.world import World

HOOKS = ("pre-commit", "post-checkout", "post-index-change", "fsmonitor-watchman", "reference-transaction", "post-merge",
         "pre-auto-gc", "post-rewrite", "update", "pre-push", "sendemail-validate")  # fmt: skip


def prepare(world: World) -> None:
    """A repository with one commit, a file that has changed since, and a configuration that runs things."""
    folder = world.submission
    evil = folder / "evil.sh"
    evil.write_text(f'#!/bin/sh\nid >> "{world.root}/pwned-by-git-$(basename "$0")-$1"\nexit 0\n')
    evil.chmod(0o755)
    git = [
        "git",
        "-C",
        str(folder),
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "-c",
        "init.defaultBranch=main",
    ]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=one"]):
        subprocess.run([*git, *arguments], check=True, env=environment, capture_output=True)
    (folder / ".gitattributes").write_text("* filter=evil diff=evil merge=evil working-tree-encoding=UTF-8\n")
    (folder / "my_submission" / "user_config.py").touch()
    (folder / "new.txt").write_text("new")
    hooks = folder / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in HOOKS:
        (hooks / name).write_text(evil.read_text())
        (hooks / name).chmod(0o755)
    included = folder / "included.cfg"
    included.write_text(f"[core]\n\tfsmonitor = {evil} included\n[alias]\n\tstatus = !{evil} alias\n")
    (folder / ".git" / "config").write_text(
        f"""[core]
	repositoryformatversion = 1
	bare = false
	fsmonitor = {evil} fsmonitor
	hooksPath = {hooks}
	pager = {evil} pager
	editor = {evil} editor
	sshCommand = {evil} ssh
	askPass = {evil} askpass
	gitProxy = {evil} proxy
	alternateRefsCommand = {evil} alternates
	untrackedCache = true
	attributesFile = {folder}/.gitattributes
[filter "evil"]
	clean = {evil} clean
	smudge = {evil} smudge
	process = {evil} process
	required = true
[diff]
	external = {evil} external
[diff "evil"]
	textconv = {evil} textconv
	command = {evil} command
[merge "evil"]
	driver = {evil} merge
[alias]
	status = !{evil} alias-status
	rev-parse = !{evil} alias-rev-parse
[pager]
	status = {evil} pager-status
	rev-parse = {evil} pager-rev-parse
[credential]
	helper = !{evil} credential
[gpg]
	program = {evil}
[log]
	showSignature = true
[status]
	submoduleSummary = true
[submodule]
	recurse = true
[include]
	path = {included}
[includeIf "gitdir:/**"]
	path = {included}
[extensions]
	partialClone = evil
[remote "evil"]
	url = ext::{evil} remote
	promisor = true
	uploadpack = {evil} uploadpack
	vcs = evil
[protocol]
	allow = always
[trace2]
	eventTarget = {world.root}/pwned-by-git-trace
"""
    )
