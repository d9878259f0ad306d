#!/bin/bash
# Prepare a checkout for `make demo` and `make test`; safe to run again, and quick when there is nothing to do.
#
# 1. System packages: as root, apt-get installs what is missing. As an ordinary user nothing is attempted; the script says
#    what is missing and how to install it, and goes on where it can.
# 2. .venv: a Python >= 3.11, cotune installed editable with the test tools. Done again only when pyproject.toml, the
#    place of the checkout or the interpreter changed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$root"
. packaging/dev/system.sh
venv=.venv
stamp=$venv/.bootstrap-stamp

die() {
    say "$*"
    exit 1
}

# Tools that some tests call.
system_packages() {
    local wanted=(make:make strace:strace mkfs.ext4:e2fsprogs ps:procps unshare:util-linux losetup:mount)
    # pyfuse3 always builds from source; the other dependencies have ready wheels on common machines
    wanted+=(gcc:gcc pkg-config:pkg-config python3-config:python3-dev fusermount3:fuse3)
    # real containers, and programs that read what they show
    wanted+=(runc:runc crun:crun busybox:busybox-static mpstat:sysstat nsenter:util-linux java:openjdk-17-jre-headless)
    # what the views are compared with
    wanted+=(lxcfs:lxcfs)
    install_tools "${wanted[@]}"
    ssh_server
    fuse_headers || {
        is_root && apt_install libfuse3-dev
    } || say "no libfuse3 headers: going on without the container views. To have them, as root:
    apt-get install --no-install-recommends gcc pkg-config python3-dev libfuse3-dev fuse3"
}

# The fleet tests start servers of their own. The one that comes with the package listens on port 22 and starts at boot:
# nobody asked for that.
ssh_server() {
    have sshd && return 0
    install_tools ssh:openssh-client sshd:openssh-server
    if is_root && have sshd && [ -d /run/systemd/system ]; then
        systemctl --quiet disable --now ssh.service ssh.socket >&2 || true
    fi
}

fuse_headers() { pkg-config --exists fuse3 2>/dev/null; }

# The extras to install: the container views only where they can be built.
extras() { if fuse_headers && have gcc; then echo dev,views; else echo dev; fi; }

# A command may exist and not run (pyenv shims), so each candidate is tried.
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
can_make_venv() { "$1" -c 'import venv; from ensurepip import version' >/dev/null 2>&1; }

# find_python [TEST]: the first interpreter that is new enough and passes TEST.
find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11; do
        if new_enough "$candidate" && { [ $# -eq 0 ] || "$1" "$candidate"; }; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# Sets `python`; ends the script when there is none.
choose_python() {
    local bare package
    python=$(find_python can_make_venv) && return 0
    if bare=$(find_python); then
        package=$("$bare" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        [ "$bare" = python3 ] && package=python3-venv
        is_root || die "$bare cannot create virtual environments. To install what is missing, as root:
    apt-get install --no-install-recommends $package"
    else
        package=python3-venv
        is_root || die "no Python 3.11 or newer found (tried python3, python3.13, python3.12, python3.11).
    On Debian 12 or newer, as root: apt-get install --no-install-recommends python3 python3-venv"
    fi
    apt_install "$package" || die "could not install $package, and cotune needs it"
    python=$(find_python can_make_venv) ||
        die "still no Python 3.11 or newer that can create virtual environments; install one and run this again"
}

fingerprint() {
    sha256sum pyproject.toml
    extras
    printf '%s\n' "$root"
}

current() {
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] && "$venv/bin/python" -c '' 2>/dev/null
}

# Whether .venv itself may stay (only its packages need an update).
reusable() {
    [ -f "$stamp" ] && [ "$(tail -n 1 "$stamp")" = "$root" ] && new_enough "$venv/bin/python"
}

virtual_environment() {
    current && return 0
    [ -w . ] || die "$root is not writable for $(id -un), so .venv cannot be created here; use a checkout of your own"
    if [ -e "$venv" ] && [ ! -O "$venv" ] && ! is_root; then
        die "$root/.venv is out of date and belongs to $(stat -c %U "$venv"); have it removed (make clean) or use a checkout of your own"
    fi
    if ! reusable; then
        choose_python
        say "creating .venv with $("$python" --version 2>&1)"
        rm -rf "$venv"
        "$python" -m venv "$venv"
    fi
    say "installing cotune and the test tools into .venv"
    "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-input --editable ".[$(extras)]" >&2 ||
        die "pip failed, see above. It needs a package index; where a dependency has no ready wheel it also needs
    apt-get install gcc python3-dev"
    fingerprint >"$stamp"
}

system_packages
virtual_environment
