# Sourced by the scripts beside it: a new Debian 12 in a directory, with an ordinary user, and what is run in it.
# Needs root, mmdebstrap (or debootstrap) and unshare. Where this machine has settings of its own for apt and pip, they
# go along, so that packages come from where they come from here.

user=newcomer

# make_root ROOT PACKAGES: a minimal Debian 12 with these packages, separated by commas, and the user.
make_root() {
  local root=$1 packages=$2 mirror
  mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] *\)\?\([^ ]*\) .*/\2/p' \
    /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | head -1) || true
  if command -v mmdebstrap >/dev/null; then
    mmdebstrap --quiet --variant=minbase ${packages:+"--include=$packages"} bookworm "$root" ${mirror:+"$mirror"}
  elif command -v debootstrap >/dev/null; then
    debootstrap --variant=minbase ${packages:+"--include=$packages"} bookworm "$root" ${mirror:+"$mirror"} >/dev/null
  else
    echo "neither mmdebstrap nor debootstrap is here: apt install mmdebstrap" >&2
    return 1
  fi
  chroot "$root" useradd --create-home --shell /bin/bash "$user"
  if [ -e /etc/pip.conf ]; then cp -L /etc/pip.conf "$root/etc/pip.conf"; fi
  if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    mkdir -p "$root/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  fi
}

# as_newcomer ROOT COMMANDS: runs them in a login shell of the user, in namespaces of their own, with nothing of the
# environment of whoever runs this.
as_newcomer() {
  local root=$1
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  cp -L /etc/hosts "$root/etc/hosts"
  unshare --mount --pid --fork --kill-child --propagation private -- bash -euo pipefail -c '
    root=$1 user=$2 commands=$3
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    exec chroot "$root" setpriv --reuid "$user" --regid "$user" --init-groups \
      env -i HOME="/home/$user" USER="$user" LANG=C.UTF-8 TERM=dumb PATH=/usr/local/bin:/usr/bin:/bin \
      bash -euo pipefail -lc "cd; $commands"
  ' bash "$root" "$user" "$2"
}
