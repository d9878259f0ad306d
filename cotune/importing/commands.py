"""What single commands would do: pure functions from their arguments to effects. Nothing is run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from cotune.importing.effects import Effect, Made, Mounted, Remount, ResctrlMounted, UnitProperty, Write
from cotune.importing.expand import Field, Unresolved
from cotune.resolve.host import sysctl_path

#: Commands that print, test, compute or wait, or touch ordinary files only.
HARMLESS = frozenset((
    ":", "[", "[[", "awk", "basename", "bc", "cat", "chmod", "chown", "clear", "column", "cp", "cut", "date",
    "declare", "df", "diff", "dirname", "dmesg", "du", "egrep", "exit", "export", "expr", "false", "fgrep", "file",
    "find", "findmnt", "free", "getconf", "getent", "grep", "hash", "head", "hostname", "id", "install", "jq",
    "less", "ln", "local", "logger", "ls", "lsblk", "lscpu", "lsmod", "mktemp", "mountpoint", "mv", "nproc", "od",
    "pgrep", "pidof", "printenv", "ps", "pwd", "readlink", "readonly", "realpath", "return", "rm", "sed", "seq",
    "set", "shift", "shopt", "sleep", "sort", "stat", "sync", "tail", "test", "touch", "tr", "trap", "true", "tty",
    "type", "typeset", "udevadm", "umask", "uname", "uniq", "unset", "vmstat", "wait", "wc", "which", "whoami",
    "xxd",
))  # fmt: skip
#: Of these, the ones whose exit code is success in an ordinary run.
SUCCEEDING = frozenset((
    ":", "cat", "chmod", "chown", "clear", "date", "declare", "echo", "exit", "export", "local", "logger", "ls",
    "mkdir", "printf", "pwd", "readonly", "set", "shift", "shopt", "sleep", "sync", "touch", "trap", "true",
    "typeset", "umask", "unset",
))  # fmt: skip
#: Command → why a profile cannot hold what it does.
REASONS = {
    "cgclassify": "processes cannot be in a profile: use a tasks section, or apply --pid GROUP=PID",
    "cgdelete": "a profile cannot remove cgroups; cotune rollback removes those it made",
    "cgexec": "a profile starts no process: start it yourself and use a tasks section",
    "chrt": "the scheduling policy of a process is no setting of a profile",
    "cpupower": "CPU frequency is no setting of a profile",
    "eval": "what eval runs is known only when the script runs",
    "exec": "another program takes the place of the script, or a descriptor is opened, which is not followed",
    "ionice": "the IO priority of a process is no setting of a profile; io.throttle bounds a group",
    "modprobe": "a profile loads no modules",
    "nice": "the nice value of a process is no setting of a profile; cpu.shares weighs a group",
    "numactl": "a profile starts no process; cpu.cpus and cpu.mems bind a group",
    "renice": "the nice value of a process is no setting of a profile; cpu.shares weighs a group",
    "rmdir": "a profile cannot remove directories; cotune rollback removes cgroups it made",
    "source": "another script is read there: import it as well",
    ".": "another script is read there: import it as well",
    "swapoff": "swap devices are no setting of a profile",
    "swapon": "swap devices are no setting of a profile",
    "taskset": "the CPUs of a single process are no setting of a profile; cpu.cpus binds a group",
    "tune2fs": "it changes the file system on the disk, not the running kernel",
    "ulimit": "limits of the script's own processes are no setting of a profile",
}

Handler = Callable[[Sequence[str], int], Iterator[Effect]]


def echo(arguments: Sequence[Field]) -> Field:
    """What ``echo`` prints, without the line end."""
    words = list(arguments)
    escapes = False
    while words and re.fullmatch(r"-[neE]+", words[0].text):
        escapes = "e" in words.pop(0).text or escapes
    text = " ".join(word.text for word in words)
    return Field(_unescaped(text) if escapes else text, any(word.wild for word in words))


def printf(arguments: Sequence[Field]) -> Field:
    """What ``printf`` prints: the format is used again while arguments are left. Raises Unresolved."""
    words = list(arguments)
    if words and words[0].text == "--":
        words.pop(0)
    if not words or words[0].text.startswith("-"):
        raise Unresolved("printf with options")
    form, values = _unescaped(words[0].text), [word.text for word in words[1:]]
    directives = re.findall(r"%(?:%|[-+ #0-9.]*[a-zA-Z])", form)
    wanted = sum(directive != "%%" for directive in directives)
    if form.count("%") != sum(directive.count("%") for directive in directives):
        raise Unresolved("a printf format that cotune does not understand")
    text = _filled(form, values)
    while wanted and values:
        text += _filled(form, values)
    return Field(text, any(word.wild for word in words))


def _filled(form: str, values: list[str]) -> str:
    """The format with arguments, which are taken off ``values``."""

    def fill(match: re.Match[str]) -> str:
        directive = match[0]
        if directive == "%%":
            return "%"
        value = values.pop(0) if values else ""
        if directive == "%s":
            return value
        if directive == "%b":
            return _unescaped(value)
        if directive in ("%d", "%i", "%u") and re.fullmatch(r"-?\d*", value):
            return value or "0"
        raise Unresolved(f"printf {directive} of {value[:40]!r}")

    return re.sub(r"%(?:%|[-+ #0-9.]*[a-zA-Z])", fill, form)


def _unescaped(text: str) -> str:
    signs = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
    return re.sub(r"\\([ntr\\])", lambda match: signs[match[1]], text)


# --- commands with effects -------------------------------------------------------------------------------------------


def sysctl(arguments: Sequence[str], line: int) -> Iterator[Effect]:
    """``sysctl [-w] name=value …``; a name alone only prints."""
    for word in arguments:
        name, equals, value = word.partition("=")
        if not word.startswith("-") and equals:
            yield Write(line, Field(sysctl_path(name.strip())), value)


def mkdir(arguments: Sequence[str], line: int) -> Iterator[Effect]:
    """``mkdir [-p] directory …``."""
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word in ("-m", "--mode"):
            skip = True
        elif not word.startswith("-"):
            yield Made(line, Field(word))


def mount(arguments: Sequence[str], line: int) -> Iterator[Effect]:
    """``mount -o remount,… [device] point`` and mounts of cgroup hierarchies. Raises Unresolved."""
    options: list[str] = []
    places: list[str] = []
    kind = ""
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in ("-o", "--options", "-t", "--types"):
            value = words.pop(0) if words else ""
            options += value.split(",") if "o" in word[:3] else []
            kind = kind if "o" in word[:3] else value
        elif re.match(r"-o.|--options=", word):
            options += re.sub(r"-o|--options=", "", word, count=1).split(",")
        elif re.match(r"-t.|--types=", word):
            kind = re.sub(r"-t|--types=", "", word, count=1)
        elif not word.startswith("-"):
            places.append(word)
    if not arguments or not places:
        return
    if "remount" in options and places[-1].startswith("/") and not places[-1].startswith("/dev/"):
        yield Remount(line, places[-1], tuple(option for option in options if option not in ("remount", "")))
    elif "remount" in options:
        raise Unresolved("which mount point it means is known only on the host")
    elif kind in ("cgroup", "cgroup2"):
        yield Mounted(line, places[-1], 1 if kind == "cgroup" else 2)
    elif kind == "resctrl" and places[-1].rstrip("/") == "/sys/fs/resctrl":
        yield ResctrlMounted(line, tuple(options))
    else:
        raise Unresolved("a profile mounts nothing; it changes options of what is mounted")


def cgcreate(arguments: Sequence[str], line: int) -> Iterator[Effect]:
    """``cgcreate -g controllers:group …`` (libcgroup). Raises Unresolved."""
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "-g" and words:
            controllers, colon, group = words.pop(0).partition(":")
            if not colon or not group.strip("/"):
                raise Unresolved("-g expects controllers:group")
            yield Made(line, Field(_group_path(controllers.split(",")[0], group)))
        elif word in ("-a", "-t", "-d", "-f", "-s") and words:
            words.pop(0)


def cgset(arguments: Sequence[str], line: int) -> Iterator[Effect]:
    """``cgset -r file=value … group …`` (libcgroup). Raises Unresolved."""
    settings: list[str] = []
    groups: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "-r" and words:
            settings.append(words.pop(0))
        elif word.startswith("-r"):
            settings.append(word[2:].removeprefix("="))
        elif word.startswith("-"):
            raise Unresolved(f"cgset {word} copies what another group has on the host")
        else:
            groups.append(word)
    for setting in settings:
        file, equals, value = setting.partition("=")
        if not equals:
            raise Unresolved("-r expects file=value")
        for group in groups:
            yield Write(line, Field(f"{_group_path(file.partition('.')[0], group)}/{file}"), value)


def _group_path(controller: str, group: str) -> str:
    folder = controller if re.fullmatch("[a-z_]+", controller) else ""
    return "/".join(part for part in ("/sys/fs/cgroup", folder, group.strip("/")) if part)


def systemctl(arguments: Sequence[str], line: int) -> Iterator[Effect]:
    """``systemctl set-property [--runtime] unit name=value …``. Raises Unresolved."""
    words = [word for word in arguments if not word.startswith("-")]
    if words[:1] in (["status"], ["is-active"], ["is-enabled"], ["show"], ["cat"], ["daemon-reload"], []):
        return
    if words[0] != "set-property":
        raise Unresolved(f"systemctl {words[0]} changes services, which a profile does not")
    if len(words) < 3:
        raise Unresolved("set-property expects a unit and name=value")
    unit = words[1] if "." in words[1] else f"{words[1]}.service"
    for word in words[2:]:
        name, _, value = word.partition("=")
        yield UnitProperty(line, unit, name, value)


HANDLERS: dict[str, Handler] = {
    "sysctl": sysctl,
    "mkdir": mkdir,
    "mount": mount,
    "cgcreate": cgcreate,
    "cgset": cgset,
    "systemctl": systemctl,
}


# --- commands before commands ----------------------------------------------------------------------------------------

_WITH_VALUE = {"sudo": ("-u", "-g", "-U", "-C", "-p", "-h"), "doas": ("-u", "-C")}


def unwrap(words: Sequence[Field]) -> list[Field]:
    """The command without ``sudo`` and the like in front of it."""
    rest = list(words)
    while rest and rest[0].text.rpartition("/")[2] in ("sudo", "doas", "command", "builtin"):
        wrapper = rest.pop(0).text.rpartition("/")[2]
        if wrapper == "command" and rest and rest[0].text in ("-v", "-V"):
            return [Field("which")]
        while rest and (rest[0].text.startswith("-") or (wrapper == "sudo" and re.match(r"\w+=", rest[0].text))):
            option = rest.pop(0).text
            if option in _WITH_VALUE.get(wrapper, ()) and rest:
                rest.pop(0)
    return rest
