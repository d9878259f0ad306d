#!/bin/bash
# Prepare the guest of tests/vm; safe to run again, and quick when there is nothing to do.
#
# 1. System packages: QEMU and a static busybox; installed as root, only named as an ordinary user.
# 2. .cache/guest: a kernel with its modules, unpacked from Debian's package, which is not installed. Needs no root.
#
# Whatever cannot be had is said, and tests/vm is skipped with the reason: this script never fails.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
. "$root/packaging/dev/system.sh"
cache=$root/.cache/guest

# The package that linux-image-amd64 stands for. Not the cloud flavour: it has no 9p.
kernel_package() { apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p' | head -n 1; }

download() { apt_get -o APT::Sandbox::User= download "$1" && ls ./*.deb >/dev/null 2>&1; }

fetch_kernel() {
    local package folder=kernel
    # what is unpacked may change with this script
    [ ! "$cache/package" -nt "$root/packaging/dev/guest.sh" ] || return 0
    have apt-get && have dpkg-deb || {
        say "no Debian kernel can be fetched here; tests/vm is skipped"
        return 0
    }
    # the whole of .cache stays out of git, without a line in the project's own list
    mkdir -p "$cache" 2>/dev/null && echo '*' >"$root/.cache/.gitignore" || {
        say "$root/.cache is not writable for $(id -un); tests/vm is skipped"
        return 0
    }
    work=$(mktemp -d "$cache/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    package=$(kernel_package)
    if [ -z "$package" ] && is_root; then
        apt_update
        package=$(kernel_package)
    fi
    [ -n "$package" ] || {
        say "apt-get knows no linux-image-amd64; tests/vm is skipped"
        return 0
    }
    say "fetching the kernel of tests/vm: $package"
    if ! download "$package"; then
        # a kernel that was replaced since the lists were fetched
        is_root && apt_update && package=$(kernel_package) && download "$package" || {
            say "$package could not be downloaded; tests/vm is skipped"
            return 0
        }
    fi
    mkdir "$folder"
    dpkg-deb --fsys-tarfile ./*.deb | tar -x -C "$folder" --wildcards './boot/vmlinuz-*' \
        '*/kernel/'{block,crypto,lib,mm,net/9p,drivers/block,drivers/virtio,fs/9p,fs/ext4,fs/fscache,fs/fuse,fs/jbd2,fs/netfs,fs/overlayfs,fs/quota}/'*' \
        '*/kernel/fs/mbcache.ko*' 2>/dev/null || true # a pattern without a match: it is in another place, or built in
    find "$folder" -name '*.ko.xz' -exec xz -d {} +
    rm -rf "$cache/modules"
    mkdir "$cache/modules"
    find "$folder" -name '*.ko' -exec mv -t "$cache/modules" {} +
    mv "$folder"/boot/vmlinuz-* "$cache/vmlinuz"
    echo "$package" >"$cache/package"
}

case $(uname -m) in
x86_64)
    install_tools qemu-system-x86_64:qemu-system-x86 busybox:busybox-static
    fetch_kernel
    ;;
*) say "tests/vm knows x86-64 only; it is skipped" ;;
esac
