"""`fleche completion`: what has a shell complete commands, options and names."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fleche.cli.command import COMMANDS, DONE, Command, load, parser_of
from fleche.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COMMAND"]

_WORDS = ("sections", "functions")

# Options whose values are names that a cache or its configuration knows, and folders.
_NAMED = {"--cache": "sections", "--to": "sections", "--function": "functions", "-f": "functions"}
_FOLDERS = ("--root",)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", nargs="?", choices=_SCRIPTS, help="the shell")
    parser.add_argument(
        "--words", choices=_WORDS, help="print names, a line each: what the scripts ask for"
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    if given.words is not None:
        for word in _names(given.words, given.cache):
            print(word)
        return DONE
    if given.shell is None:
        from fleche.cli.stores import Mistake

        raise Mistake(f"say for which shell: {', '.join(_SCRIPTS)}")
    print(_SCRIPTS[given.shell](), end="")
    return DONE


def _names(kind: str, cache: str | None) -> list[str]:
    if kind == "sections":
        from fleche.config import sections

        return sections()
    from fleche.cli.stores import cache_named

    return sorted({call.name for call in cache_named(cache).query()})


def _options(name: str) -> list[argparse.Action]:
    actions = parser_of(load(name), name)._actions
    return [each for each in actions if each.option_strings and each.help != argparse.SUPPRESS]


def _takes_functions(name: str) -> bool:
    return name == "find"


def _choices() -> dict[str, list[str]]:
    """The values of the options that take one of a few."""
    found: dict[str, list[str]] = {}
    for name in COMMANDS:
        for option in _options(name):
            if option.choices is not None:
                words = found.setdefault(option.option_strings[-1], [])
                words += [str(word) for word in option.choices if str(word) not in words]
    return found


def _values(of_names: str, of_choices: str, of_folders: str) -> Iterator[str]:
    """A line of a `case` for each option that takes a value which can be completed."""
    kinds: dict[str, list[str]] = {}
    for option, kind in _NAMED.items():
        kinds.setdefault(kind, []).append(option)
    for kind, options in kinds.items():
        yield f"    {'|'.join(options)}) {of_names.format(kind=kind)}; return ;;"
    for option, words in _choices().items():
        yield f"    {option}) {of_choices.format(words=' '.join(words))}; return ;;"
    yield f"    {'|'.join(_FOLDERS)}) {of_folders}; return ;;"


def _words_of(name: str) -> str:
    words = [word for option in _options(name) for word in option.option_strings]
    for action in parser_of(load(name), name)._actions:
        if not action.option_strings and action.choices is not None:
            words += map(str, action.choices)
    return " ".join(words)


_BASH = """\
# Completion of fleche for bash: eval "$(fleche completion bash)"
_fleche_words() {{
  # Not by compgen -W, which would run what stands in a name.
  local word
  while IFS= read -r word; do
    [[ $word == "$2"* ]] && COMPREPLY+=("$(printf %q "$word")")
  done < <("${{COMP_WORDS[0]}}" completion --words "$1" 2>/dev/null)
}}
_fleche() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} words
  COMPREPLY=()
  case $prev in
{values}
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands} --help --version" -- "$cur"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
{options}
  esac
  if [[ ${{COMP_WORDS[1]}} == @({functions}) && $cur != -* ]]; then
    _fleche_words functions "$cur"
    return
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -F _fleche fleche
"""


def _bash() -> str:
    values = _values(
        '_fleche_words {kind} "$cur"',
        'COMPREPLY=($(compgen -W "{words}" -- "$cur"))',
        'COMPREPLY=($(compgen -d -- "$cur"))',
    )
    options = [f'    {name}) words="{_words_of(name)}" ;;' for name in COMMANDS]
    return _BASH.format(
        values="\n".join(values),
        commands=" ".join(COMMANDS),
        options="\n".join(options),
        functions="|".join(filter(_takes_functions, COMMANDS)),
    )


_ZSH = """\
#compdef fleche
# Completion of fleche for zsh: save it as _fleche in a folder of $fpath
_fleche_words() {{
  local -a found
  found=(${{(f)"$($words[1] completion --words $1 2>/dev/null)"}})
  compadd -- $found
}}
_fleche() {{
  case $words[CURRENT-1] in
{values}
  esac
  if (( CURRENT == 2 )); then
    compadd -- {commands} --help --version
    return
  fi
  case $words[2] in
{options}
  esac
  case $words[2] in
    {functions}) _fleche_words functions ;;
  esac
}}
if [ "$funcstack[1]" = "_fleche" ]; then
  _fleche "$@"
else
  compdef _fleche fleche
fi
"""


def _zsh() -> str:
    values = _values("_fleche_words {kind}", "compadd -- {words}", "_files -/")
    options = [f"    {name}) compadd -- {_words_of(name)} ;;" for name in COMMANDS]
    return _ZSH.format(
        values="\n".join(values),
        commands=" ".join(COMMANDS),
        options="\n".join(options),
        functions="|".join(filter(_takes_functions, COMMANDS)),
    )


def _fish() -> str:
    lines = [
        "# Completion of fleche for fish: save it in ~/.config/fish/completions/fleche.fish",
        "complete -c fleche -f",
    ]
    for name in COMMANDS:
        lines.append(
            f"complete -c fleche -n __fish_use_subcommand -a {name} -d {_quoted(load(name).help)}"
        )
    for name in COMMANDS:
        seen = f"complete -c fleche -n '__fish_seen_subcommand_from {name}'"
        for option in _options(name):
            lines.append(f"{seen} {_fish_option(option)}")
        if _takes_functions(name):
            lines.append(f"{seen} -a '(fleche completion --words functions 2>/dev/null)'")
        for action in parser_of(load(name), name)._actions:
            if not action.option_strings and action.choices is not None:
                lines.append(f"{seen} -a '{' '.join(map(str, action.choices))}'")
    return "\n".join(lines) + "\n"


def _fish_option(option: argparse.Action) -> str:
    words = []
    for text in option.option_strings:
        words.append(f"-l {text[2:]}" if text.startswith("--") else f"-s {text[1:]}")
    if option.help:
        words.append(f"-d {_quoted(option.help.partition(';')[0])}")
    kind = next((_NAMED[text] for text in option.option_strings if text in _NAMED), None)
    if kind is not None:
        words.append(f"-x -a '(fleche completion --words {kind} 2>/dev/null)'")
    elif option.choices is not None:
        words.append(f"-x -a '{' '.join(map(str, option.choices))}'")
    elif option.option_strings[-1] in _FOLDERS:
        words.append("-x -a '(__fish_complete_directories)'")
    elif option.nargs != 0:
        words.append("-x")
    return " ".join(words)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}


COMMAND = Command(
    help="print a script that has the shell complete commands, options and names",
    run=_run,
    arguments=_arguments,
    examples=(
        ('eval "$(fleche completion bash)"', "in ~/.bashrc"),
        ("fleche completion fish > ~/.config/fish/completions/fleche.fish", "for fish"),
    ),
    takes_json=False,
)
