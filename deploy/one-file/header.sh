#!/bin/bash -p
# leash @VERSION@ in one file, for Linux on @MACHINE@. What it is made of stands behind this text, and is unpacked
# once: into LEASH_UNPACK_DIR, or else ~/.cache/leash. Under the name leashctl or leashd it is that program.
#
# The programs that leash starts are to have the environment that it was given. So it is bash, since other shells drop
# variables whose names are not theirs; with -p, so that nothing is done that variables say to bash itself; and its own
# variables have names that nobody else uses.
set -eu

leash_name=${0##*/}
case $leash_name in
  leashctl* | leashd*) leash_name=${leash_name%%[-.]*} ;;
  *) leash_name=leash ;;
esac

# Where a shell was told to read this file, $0 may be a bare name, which tail would take for an option.
leash_artefact=$0
case $leash_artefact in
  */*) ;;
  *) leash_artefact=./$leash_artefact ;;
esac

if [ -n "${LEASH_UNPACK_DIR:-}" ]; then
  leash_root=$LEASH_UNPACK_DIR
elif [ -n "${XDG_CACHE_HOME:-}" ]; then
  leash_root=$XDG_CACHE_HOME/leash
elif [ -n "${HOME:-}" ]; then
  leash_root=$HOME/.cache/leash
else
  echo "leash: neither HOME nor LEASH_UNPACK_DIR is set: say with the latter where this file may unpack itself" >&2
  exit 1
fi
leash_place=$leash_root/@ID@

# What stands under its name is whole, after a loss of power too. Another start may have been faster.
unpack() (
  umask 022
  mkdir -p "$leash_root" || exit 1
  leash_new=$(mktemp -d "$leash_root/.new-XXXXXX") || exit 1
  trap 'rm -rf "$leash_new"' EXIT
  trap 'exit 1' HUP INT TERM
  tail -c +@OFFSET@ "$leash_artefact" | tar -x -z -o -f - -C "$leash_new" || exit 1
  chmod 755 "$leash_new" && sync || exit 1
  mv -T "$leash_new" "$leash_place" 2>/dev/null || [ -x "$leash_place/leash" ]
)

if [ ! -x "$leash_place/leash" ] && ! unpack; then
  echo "leash: this file cannot be unpacked into $leash_root: say with LEASH_UNPACK_DIR=DIRECTORY where else" >&2
  exit 1
fi
# A cache that somebody else could have filled is not run: it is root's, or one's own.
if [ ! -O "$leash_place" ] && [ "$(stat -c %u "$leash_place")" != 0 ]; then
  echo "leash: $leash_place belongs to another user: say with LEASH_UNPACK_DIR=DIRECTORY where this file may unpack itself" >&2
  exit 1
fi
export LEASH_ARTEFACT="$leash_artefact"
exec "$leash_place/$leash_name" "$@"
