"""`sdx completion SHELL`: what makes a shell complete commands, options, presets and files.

What is printed is all that the shell needs: completing starts no Python.
"""

import argparse
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from sdx.described import commands_below

SHELLS = ("bash", "zsh", "fish")
# What stands for files in `--help`, where they are not of type Path.
_FILES = ("INPUT", "FILE", "RUN", "RUN_A", "RUN_B")

_ABOUT = """\
Print what makes a shell complete commands, options, presets and files. Put it where the shell looks for it,
and again after an upgrade:

  sdx completion bash > ~/.local/share/bash-completion/completions/sdx
  sdx completion zsh > ~/.zfunc/_sdx       # with fpath+=(~/.zfunc) before compinit in ~/.zshrc
  sdx completion fish > ~/.config/fish/completions/sdx.fish
"""

# shtab's bash splits names at spaces, and puts a space after a folder; so it is given marks instead of names.
_BASH = """
_sdx_files() { echo //files; }
_sdx_folders() { echo //folders; }
"""
_BASH_END = """
_sdx() {
  local word="${COMP_WORDS[COMP_CWORD]}" found=() kind name
  _shtab_sdx
  for name in "${COMPREPLY[@]}"; do
    case "$name" in
      //files) kind=-f ;;
      //folders) kind=-d ;;
      *) found+=("$name"); continue ;;
    esac
    compopt -o filenames 2>/dev/null
    while IFS= read -r name; do found+=("$name"); done < <(compgen "$kind" -- "$word")
  done
  COMPREPLY=("${found[@]}")
}
complete -o bashdefault -F _sdx sdx"""


def main(arguments: Sequence[str] | None = None, prog: str = "sdx completion") -> int:
    """Print the script of a shell; 0."""
    parser = argparse.ArgumentParser(prog=prog)
    add_arguments(parser)
    shell = parser.parse_args(arguments).shell
    print(script(shell))
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of `completion`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _ABOUT
    parser.add_argument("shell", choices=SHELLS, help="whose script")


def script(shell: str) -> str:
    """What a shell is to read, all of `sdx` in it."""
    import shtab

    parser = argparse.ArgumentParser(prog="sdx", add_help=False)
    import_module("sdx.__main__").add_parsers(parser)
    kinds = {
        "preset": _names("presets", import_module("my_submission.ensemble.preset_reader").preset_names()),
        "config": _names("configs", import_module("training.__main__").config_names()),
        "file": shtab.FILE | {"bash": "_sdx_files"},
        "directory": shtab.DIRECTORY | {"bash": "_sdx_folders"},
    }
    for line, command in commands_below(parser):
        command.description = line  # which shtab shows beside its name
    for action in _actions(parser):
        if (kind := _kind(action)) is not None:
            action.complete = kinds[kind]  # type: ignore[attr-defined]  # where shtab looks for it
    text = str(shtab.complete(parser, shell, preamble=_BASH if shell == "bash" else ""))
    return text + _BASH_END if shell == "bash" else text


def _kind(action: argparse.Action) -> str | None:
    """What completes a value: "preset", "config", "file", "directory", or None for what has choices or is free."""
    metavar = str(action.metavar)
    if action.choices is not None or action.nargs == 0:
        return None
    if action.dest in ("preset", "names"):
        return "preset"
    if action.dest == "config":
        return "config"
    if "DIR" in metavar:
        return "directory"
    return "file" if action.type is Path or metavar in _FILES else None


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument and option of a parser and of those below it."""
    yield from parser._actions
    for _, command in commands_below(parser):
        yield from command._actions


def _names(kind: str, names: Sequence[str]) -> dict[str, Any]:
    """How each shell completes one of these names, or a YAML file; kind: what they are, for a shell's function."""
    words = " ".join(names)
    return {
        "bash": f"_sdx_{kind}",
        "zsh": f"_sdx_{kind}",
        "fish": f"{words} (__fish_complete_path (commandline -ct))",
        "preamble": {
            "bash": f'_sdx_{kind}() {{ compgen -W "{words}" -- "$1"; echo //files; }}',
            "zsh": f"_sdx_{kind}() {{\n  compadd {words}\n  _files -g '*.yaml'\n}}",
        },
    }
