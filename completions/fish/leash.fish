# Completion of leashctl, leash and leashd for fish. `leashctl completion fish` prints this.

function __leash_completion
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $before[1])
    # A flag and its value are two words to the program.
    set -l prefix (string match -r -- '^--.*?=' $current)
    set -l value (string replace -- "$prefix" '' $current)
    set -l words $before (string replace -r -- '=$' '' $prefix) (string match -- '?*' $value)
    set -l response (env COMP_WORDS=(string join ' ' -- (string escape -- $words) | string collect) COMP_CWORD=$value \
        _LEASHCTL_COMPLETE=fish_complete _LEASH_COMPLETE=fish_complete _LEASHD_COMPLETE=fish_complete \
        $program 2>/dev/null)
    for line in $response
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case plain
                printf '%s%s\n' "$prefix" $parts[2]
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
