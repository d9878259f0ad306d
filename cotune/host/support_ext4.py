"""Whether what a profile can set of ext4 file systems works on this host. Never writes."""

from __future__ import annotations

import errno

from cotune.controls import CONTROLS
from cotune.host.facts import Host
from cotune.host.features import feature_values
from cotune.host.mounts import device_node, has_project_quota, journal_directory
from cotune.host.support import Support
from cotune.knobs.base import Knob

#: Options, features and quotas are no files; what is in the journal's files can be set all the same.
ELSEWHERE = Support("no", "file systems below another root cannot be changed", "run cotune on that host")


def probe_ext4(host: Host, knob: Knob) -> Support:
    """Options need a mounted ext4 file system, the others also what they are kept in; one file system is enough."""
    kernel = host.kernel
    mounts = [mount for mount in kernel.mounts() if mount.fstype == "ext4"]
    if not mounts:
        return Support("no", "no ext4 file system is mounted", "mount one; other file systems are left alone")
    control = CONTROLS[knob.control]
    if knob.section == "jbd2":
        if any(kernel.exists(f"{journal_directory(kernel, mount)}/{knob.part}") for mount in mounts):
            return Support("yes")
        return Support("no", *control.absent["ENOENT"])
    if not host.at_hand:
        return ELSEWHERE
    if knob.section == "quota" and not any(has_project_quota(kernel, mount.point) for mount in mounts):
        return Support("no", *CONTROLS["quota.limits"].absent["ESRCH"])
    if knob.section == "feature":
        try:
            feature_values(kernel, device_node(kernel, mounts[0]))
        except OSError as error:
            symbol = errno.errorcode.get(error.errno or 0, "EIO")
            return Support("no", *control.absent.get(symbol, control.absent["EIO"]))
    return Support("yes")
