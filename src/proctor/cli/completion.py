"""``proctor completion``."""

from __future__ import annotations

from typing import Literal

from cyclopts.completion.detect import ShellDetectionError, detect_shell
from rich.console import Console

from proctor.cli.arguments import COMPLETE
from proctor.errors import ConfigError

SCRIPTS = {
    "bash": f"""\
_proctor() {{
    local IFS=$'\\n'
    COMPREPLY=($("${{COMP_WORDS[0]}}" {COMPLETE} bash "${{COMP_LINE:0:COMP_POINT}}" 2>/dev/null))
    if [[ "${{#COMPREPLY[@]}}" == 1 && "${{COMPREPLY[0]}}" == *= ]]; then compopt -o nospace; fi
}}
complete -o default -F _proctor proctor
""",
    "zsh": f"""\
#compdef proctor
_proctor() {{
    local -a found
    found=("${{(@f)$("${{words[1]}}" {COMPLETE} zsh "${{(@)words[2,CURRENT-1]}}" "$PREFIX" 2>/dev/null)}}")
    found=(${{found:#}})
    if (( ! $#found )); then
        _files
        return
    fi
    compadd -S '' -- ${{(M)found:#*=}}
    compadd -- ${{found:#*=}}
}}
if [[ "$funcstack[1]" == _proctor ]]; then _proctor "$@"; else compdef _proctor proctor; fi
""",
    "fish": f"""\
function __proctor_complete
    set -l words (commandline -opc)
    $words[1] {COMPLETE} fish $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c proctor -a '(__proctor_complete)'
""",
}
"""The scripts by shell. They hold no name of an option, so that they need not be installed again."""


def completion_command(shell: Literal["bash", "zsh", "fish"] | None = None, /) -> int:
    """Install completion for your shell: of commands, options, types, tasks and runs.

    Parameters
    ----------
    shell
        The shell; the one from which the command is started if not given.
    """
    from proctor.cli.main import app  # main loads this module

    try:
        chosen = shell or detect_shell()
    except ShellDetectionError:
        chosen = "powershell"
    if chosen == "powershell":  # for which there is no script
        raise ConfigError("The shell cannot be detected; name it: proctor completion bash, zsh or fish.")
    path = app.install_completion(shell=chosen)
    path.write_text(SCRIPTS[chosen], encoding="utf-8")
    Console().print(f"Completion is in {path}; it works in the next shell you open.", soft_wrap=True)
    return 0
