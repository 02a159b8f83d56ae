"""The scripts that teach a shell to complete leash's programs. Pure text.

The rule: a script knows nothing of commands and flags. It asks the program that is being typed, by click's protocol
(the words in ``COMP_WORDS``, the number of the current one in ``COMP_CWORD``, and what is wanted in
``_PROGRAM_COMPLETE``), and shows what that proposes. The kind ``program`` is leash's own: the wrapped program's command
line is completed as if it stood alone.

What a script is answered is text to it, never something to carry out.
"""

from __future__ import annotations

PROGRAMS = ("leashctl", "leash", "leashd")

_BASH = """\
# Completion of leashctl, leash and leashd for bash. `leashctl completion bash` prints this.

_leash_completion() {
    local IFS=$'\\n' program=$1 words=() cword=$COMP_CWORD position kind value
    if [[ $program == '~/'* ]]; then program=$HOME/${program:2}; fi
    # Bash makes a word of the = between a flag and its value.
    for ((position = 0; position < COMP_CWORD; position++)); do
        if [[ ${COMP_WORDS[position]} == '=' ]]; then
            cword=$((cword - 1))
        else
            words+=("${COMP_WORDS[position]}")
        fi
    done
    words+=("${COMP_WORDS[COMP_CWORD]}")
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            program) if [[ $value != *[!0-9]* ]]; then _leash_program_completion "$value"; fi ;;
        esac
    done < <(env COMP_WORDS="${words[*]}" COMP_CWORD="$cword" \\
        _LEASHCTL_COMPLETE=bash_complete _LEASH_COMPLETE=bash_complete _LEASHD_COMPLETE=bash_complete \\
        "$program" 2>/dev/null)
}

# The wrapped program's own completion, where the package bash-completion knows how to find it.
_leash_program_completion() {
    if declare -F _comp_command_offset >/dev/null; then
        IFS=$' \\t\\n' _comp_command_offset $((COMP_CWORD - $1))
    elif declare -F _command_offset >/dev/null; then
        IFS=$' \\t\\n' _command_offset $((COMP_CWORD - $1))
    else
        compopt -o default 2>/dev/null
        if [[ $1 == 0 ]]; then
            COMPREPLY=($(compgen -c -- "${COMP_WORDS[COMP_CWORD]}"))
        fi
    fi
}

# The second is for a bash before 4.4.
complete -o nosort -F _leash_completion leashctl leash leashd 2>/dev/null ||
    complete -F _leash_completion leashctl leash leashd
"""

_ZSH = """\
#compdef leashctl leash leashd
# Completion of leashctl, leash and leashd for zsh. `leashctl completion zsh` prints this.

_leashctl() {
    local program=${(Q)words[1]} kind value text
    local -a before current response described plain
    [[ $program == '~/'* ]] && program=$HOME/${program:2}
    before=("${(@)words[1,CURRENT-1]}") current=("${words[CURRENT]}")
    if [[ $PREFIX == --*=* ]]; then
        # A flag and its value are two words to the program.
        compset -P '*='
        current=("${current[1]%%=*}" "${current[1]#*=}")
    fi
    response=("${(@f)$(env COMP_WORDS="${(pj:\\n:)before} ${(pj:\\n:)current}" \\
        COMP_CWORD=$((CURRENT + $#current - 2)) \\
        _LEASHCTL_COMPLETE=zsh_complete _LEASH_COMPLETE=zsh_complete _LEASHD_COMPLETE=zsh_complete \\
        $program 2>/dev/null)}")
    for kind value text in "${response[@]}"; do
        case $kind in
            plain)
                if [[ $text == _ ]]; then plain+=("$value"); else described+=("$value:$text"); fi ;;
            dir) _files -/ ;;
            file) _files ;;
            program)
                # The wrapped program's own completion. Arithmetic would carry out what is no number.
                [[ $value == <-> ]] || continue
                shift $((CURRENT - 1 - value)) words
                CURRENT=$((value + 1))
                _normal ;;
        esac
    done
    (( $#described )) && _describe -V leash described
    (( $#plain )) && compadd -V leash -a plain
    return 0
}

if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _leashctl "$@"
else
    compdef _leashctl leashctl leash leashd
fi
"""

_FISH = """\
# Completion of leashctl, leash and leashd for fish. `leashctl completion fish` prints this.

function __leash_completion
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $before[1])
    # A flag and its value are two words to the program.
    set -l prefix (string match -r -- '^--.*?=' $current)
    set -l value (string replace -- "$prefix" '' $current)
    set -l words $before (string replace -r -- '=$' '' $prefix) (string match -- '?*' $value)
    set -l response (env COMP_WORDS=(string join ' ' -- (string escape -- $words) | string collect) COMP_CWORD=$value \\
        _LEASHCTL_COMPLETE=fish_complete _LEASH_COMPLETE=fish_complete _LEASHD_COMPLETE=fish_complete \\
        $program 2>/dev/null)
    for line in $response
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case plain
                printf '%s%s\\n' "$prefix" $parts[2]
            case dir
                __fish_complete_directories "$value" | string replace -r -- '^' "$prefix"
            case file
                __fish_complete_path "$value" | string replace -r -- '^' "$prefix"
            case program
                # The wrapped program's own completion.
                set -l own
                if test $parts[2] -gt 0
                    set own (string escape -- $before[(math (count $before) - $parts[2] + 1)..-1])
                end
                complete --do-complete=(string join ' ' -- $own "$current")
        end
    end
end

for program in leashctl leash leashd
    complete --command $program --no-files --keep-order --arguments '(__leash_completion)'
end
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
