# Sourced by the scripts beside it: messages, and packages of the system.
# shellcheck shell=bash
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # losetup and mkfs.ext4 are outside an ordinary user's PATH

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# apt_install PACKAGE…: true when all are installed afterwards.
apt_install() {
    local package failed=0
    have apt-get || {
        say "there is no apt-get here; install the equivalents of these Debian packages: $*"
        return 1
    }
    apt_update
    say "installing $*"
    apt_get install --no-install-recommends "$@" && return 0
    [ $# -gt 1 ] || return 1
    # apt-get installs all or nothing: one package that cannot be had must not keep the others out.
    for package in "$@"; do
        apt_get install --no-install-recommends "$package" || failed=1
    done
    return "$failed"
}

# Fetch the package lists, once.
apt_update() {
    [ -z "${updated:-}" ] || return 0
    updated=yes
    apt_get update || say "apt-get update failed; trying with the package lists at hand"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::http::Timeout=20 "$@" >&2
}

# install_tools COMMAND:PACKAGE…: packages of the commands that are missing. Tests that call them are skipped without
# them, so a missing one is no reason to stop.
install_tools() {
    local missing=() pair
    for pair in "$@"; do
        have "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    if is_root; then
        apt_install "${missing[@]}" || say "not all of ${missing[*]} could be installed; going on, tests that need them are skipped"
    else
        say "not installed: ${missing[*]}. Going on; tests that need them are skipped. To install, as root:"
        say "    apt-get install --no-install-recommends ${missing[*]}"
    fi
}
