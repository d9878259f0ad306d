"""ext4 mount options: parsing on mount and remount, and how the kernel shows them (fs/ext4/super.c).

``FileSystem.numbers`` and ``.words`` hold the options in force. Numbers of flags are 0 or 1; times are seconds for
commit and microseconds for the batch times. ``words["features"]`` are the features of the superblock, which outlive
mounts, and ``words["quota types"]`` those whose limits have a file. The 6.1 rules were observed, those of 4.19 read
from source; 5.x is assumed to stand between the two.
"""

from __future__ import annotations

import errno

from cotune.sim.files import INT_MAX, Refusal, parse_u64, refuse
from cotune.sim.hosts.specs import Ext4, HostSpec
from cotune.sim.machine import FileSystem
from cotune.sim.release import hz, since

#: Flag words: option and the value the word gives it.
_FLAGS: dict[str, tuple[str, int]] = {
    "bsddf": ("minixdf", 0),
    "minixdf": ("minixdf", 1),
    "grpid": ("grpid", 1),
    "bsdgroups": ("grpid", 1),
    "nogrpid": ("grpid", 0),
    "sysvgroups": ("grpid", 0),
    "block_validity": ("block_validity", 1),
    "noblock_validity": ("block_validity", 0),
    "dioread_nolock": ("dioread_nolock", 1),
    "dioread_lock": ("dioread_nolock", 0),
    "discard": ("discard", 1),
    "nodiscard": ("discard", 0),
    "delalloc": ("delalloc", 1),
    "nodelalloc": ("delalloc", 0),
    "journal_async_commit": ("journal_async_commit", 1),
    "barrier": ("barrier", 1),
    "nobarrier": ("barrier", 0),
    "auto_da_alloc": ("auto_da_alloc", 1),
    "noauto_da_alloc": ("auto_da_alloc", 0),
    "init_itable": ("init_itable", 10),
    "noinit_itable": ("init_itable", -1),
    "noload": ("noload", 1),
    "norecovery": ("noload", 1),
    "debug": ("debug", 1),
    "acl": ("acl", 1),
    "user_xattr": ("user_xattr", 1),
    "nouid32": ("nouid32", 1),
    "usrquota": ("usrquota", 1),
    "quota": ("usrquota", 1),
    "grpquota": ("grpquota", 1),
}
#: Flag words that 6.x refuses as unknown, or, for i_version, ignores.
_FLAGS_OLD = {"noacl": ("acl", 0), "nouser_xattr": ("user_xattr", 0), "i_version": ("i_version", 1)}
_FLAGS_NEW = {
    "warn_on_error": ("warn_on_error", 1),
    "nowarn_on_error": ("warn_on_error", 0),
    "prefetch_block_bitmaps": ("prefetch_block_bitmaps", 1),
    "no_prefetch_block_bitmaps": ("prefetch_block_bitmaps", 0),
}
#: Words, and options with a value, that are accepted and change nothing: the kernel at most warns.
_IGNORED = frozenset(("oldalloc", "orlov", "bh", "nobh", "nocheck", "i_version"))
_IGNORED_VALUES = frozenset(("sb", "check"))
_QUOTAS = ("usrquota", "grpquota", "prjquota")
_NUMBERS = ("commit", "min_batch_time", "max_batch_time", "journal_ioprio", "stripe", "inode_readahead_blks",
            "init_itable", "max_dir_size_kb", "resuid", "resgid", "barrier", "auto_da_alloc")  # fmt: skip
#: Options a host's table of defaults may leave out.
_MORE = {"nouid32": 0, "usrquota": 0, "grpquota": 0, "mb_optimize_scan": 1, "warn_on_error": 0,
         "prefetch_block_bitmaps": 1}  # fmt: skip
_QUOTA_FORMATS = ("", "vfsold", "vfsv0", "vfsv1")
_DATA_MODES = ("journal", "ordered", "writeback")
_ERROR_MODES = ("continue", "remount-ro", "panic")
_DEFAULT_COMMIT = 5


class Rules:
    """What differs between kernels."""

    def __init__(self, spec: HostSpec) -> None:
        #: The option parser of before the new mount API, and dax as a plain flag.
        self.old = not since(spec, 6, 0)
        self.plain_dax = not since(spec, 5, 8)
        #: warn_on_error and prefetch_block_bitmaps.
        self.late_flags = since(spec, 5, 10)
        self.optimize_scan = since(spec, 5, 16)
        self.flags = _FLAGS | (_FLAGS_OLD if self.old else {}) | (_FLAGS_NEW if self.late_flags else {})
        #: The commit interval is stored in ticks, in an int.
        self.max_commit = INT_MAX // hz(spec)


def features(spec: Ext4) -> str:
    """Features of a superblock as mkfs.ext4 makes them, in the order of tune2fs."""
    quota = " quota metadata_csum project" if spec.project_quota else " metadata_csum"
    return (
        "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file huge_file "
        "dir_nlink extra_isize" + quota
    )


def has_project_features(fs: FileSystem) -> bool:
    """Whether the option prjquota is accepted: both the quota and the project feature."""
    return {"quota", "project"} <= set(fs.words["features"].split())


def has_project_quota(fs: FileSystem) -> bool:
    """Whether project limits can be kept: there is a file for them too."""
    return has_project_features(fs) and "prjquota" in fs.words["quota types"].split()


def complete(fs: FileSystem) -> None:
    """Add what the host's table leaves out: rare options at their defaults, the features and the quota files."""
    fs.numbers = {**_MORE, **fs.numbers}
    types = "prjquota" if fs.spec.project_quota else ""
    fs.words = {"features": features(fs.spec), "quota types": types, "jqfmt": "", **fs.words}


def first(fs: FileSystem, words: list[str], rules: Rules) -> tuple[dict[str, int], dict[str, str]]:
    """The options after a first mount with these words. EINVAL if any is bad; nothing changes the file system here.

    ``data=journal`` drops a dioread_nolock silently and switches delalloc off, unless that was asked for (EINVAL).
    """
    numbers = {**_MORE, **dict(fs.spec.numbers)}
    kept = {name: fs.words[name] for name in ("features", "quota types")}
    texts = dict(fs.spec.words) | kept | {"jqfmt": ""}
    for word in words:
        key, _, value = word.partition("=")
        if key == "data" and value in _DATA_MODES:
            texts["data"] = value
        elif word in ("journal_checksum", "nojournal_checksum"):
            numbers["journal_checksum"] = int(word == "journal_checksum")
        elif word == "nombcache":
            numbers["mbcache"] = 0
        elif key == "dax":
            refuse(errno.EINVAL)  # none of the disks is persistent memory
        else:
            _apply(fs, word, numbers, texts, rules)
    if texts["data"] == "journal":
        if "delalloc" in words:
            refuse(errno.EINVAL)
        numbers.update(delalloc=0, dioread_nolock=0)
    if numbers["noload"]:  # no journal is in use, and none has checksums
        numbers["journal_checksum"] = 0
        texts["data"] = ""
    _check(numbers, texts)
    return numbers, texts


def change(fs: FileSystem, words: list[str], rules: Rules) -> tuple[dict[str, int], dict[str, str]]:
    """The options after a remount with these words; the file system is not touched. EINVAL if any word is bad."""
    numbers, texts = dict(fs.numbers), dict(fs.words)
    for word in words:
        _apply(fs, word, numbers, texts, rules)
    _check(numbers, texts)
    return numbers, texts


def _check(numbers: dict[str, int], texts: dict[str, str]) -> None:
    if numbers["journal_async_commit"] and texts["data"] == "ordered":
        refuse(errno.EINVAL)
    if texts["data"] == "journal" and (numbers["delalloc"] or numbers["dioread_nolock"]):
        refuse(errno.EINVAL)


def _apply(fs: FileSystem, word: str, numbers: dict[str, int], texts: dict[str, str], rules: Rules) -> None:
    key, has_value, value = word.partition("=")
    if has_value:
        _apply_value(fs, key, value, numbers, texts, rules)
    elif word in rules.flags:
        option, number = rules.flags[word]
        numbers[option] = number
    elif word == "prjquota":
        if not has_project_features(fs):
            refuse(errno.EINVAL)
        numbers["prjquota"] = 1
    elif word == "noquota":
        if numbers["prjquota"]:
            refuse(errno.EINVAL)  # enforcement cannot be switched off by a remount
        numbers.update(dict.fromkeys(_QUOTAS, 0))
    elif word in ("journal_checksum", "nojournal_checksum"):
        return  # a remount warns and keeps the old state
    elif word == "dax" and rules.plain_dax:
        return  # likewise
    elif word == "nombcache" and not numbers["mbcache"]:
        return
    elif word not in _IGNORED:
        refuse(errno.EINVAL)


def _apply_value(
    fs: FileSystem, key: str, value: str, numbers: dict[str, int], texts: dict[str, str], rules: Rules
) -> None:
    if key == "data":
        if value not in _DATA_MODES or value != fs.words["data"]:
            refuse(errno.EINVAL)
    elif key == "errors":
        if value not in _ERROR_MODES:
            refuse(errno.EINVAL)
        texts["errors"] = value
    elif key == "data_err" and value in ("abort", "ignore"):
        numbers["data_err_abort"] = int(value == "abort")
    elif key == "jqfmt" and value in _QUOTA_FORMATS:
        texts["jqfmt"] = value
    elif key == "mb_optimize_scan" and rules.optimize_scan and value in ("0", "1"):
        numbers[key] = int(value)
    elif key in _NUMBERS:
        numbers[key] = _bounded(key, value, rules)
    elif key not in _IGNORED_VALUES:
        refuse(errno.EINVAL)


def _bounded(key: str, text: str, rules: Rules) -> int:
    """match_int: a non-negative int; then the bounds of the option."""
    try:
        value = parse_u64(text)
    except Refusal:
        refuse(errno.EINVAL)
    top = {"commit": rules.max_commit, "journal_ioprio": 7}.get(key, INT_MAX)
    if value > top:
        refuse(errno.EINVAL)
    if key == "inode_readahead_blks" and value & (value - 1):
        refuse(errno.EINVAL)
    if key == "commit":
        return value or _DEFAULT_COMMIT
    if key in ("barrier", "auto_da_alloc"):
        return int(value != 0)
    return value


# --- showing --------------------------------------------------------------------------------------------------------


def _flag_lines(rules: Rules) -> list[tuple[str, str, str]]:
    """Flags in the order of ext4_mount_opts: option, word when set, word when clear."""
    lines = [
        ("minixdf", "minixdf", "bsddf"),
        ("grpid", "grpid", "nogrpid"),
        ("block_validity", "block_validity", "noblock_validity"),
        ("dioread_nolock", "dioread_nolock", "dioread_lock" if rules.plain_dax else "nodioread_nolock"),
        ("discard", "discard", "nodiscard"),
        ("delalloc", "delalloc", "nodelalloc"),
        ("warn_on_error", "warn_on_error", "nowarn_on_error"),
        ("journal_checksum", "journal_checksum", "nojournal_checksum"),
        ("journal_async_commit", "journal_async_commit", ""),
        ("noload", "norecovery", ""),
        ("barrier", "barrier", "nobarrier"),
        ("auto_da_alloc", "auto_da_alloc", "noauto_da_alloc"),
        ("dax", "dax", ""),
        ("user_xattr", "user_xattr", "nouser_xattr"),
        ("acl", "acl", "noacl"),
        ("nouid32", "nouid32", ""),
        ("debug", "debug", ""),
    ]
    return [line for line in lines if line[0] != "warn_on_error" or rules.late_flags]


def _shown(fs: FileSystem, rules: Rules, everything: bool) -> list[str]:
    """_ext4_show_options: all options, or those that differ from the superblock's defaults."""
    default = {**_MORE, **dict(fs.spec.numbers)}
    default_words = dict(fs.spec.words)
    if not fs.words["data"]:  # mounted without its journal
        default["journal_checksum"], default_words["data"] = 0, ""
    out = []
    for option, on, off in _flag_lines(rules):
        value = fs.numbers[option]
        if everything or value != default[option]:
            out.append(on if value else off)
        if option == "auto_da_alloc" and fs.numbers["init_itable"] < 0:  # a flag, unlike init_itable=N
            out.append("noinit_itable")
    out += _shown_quotas(fs, everything)
    if not fs.numbers["mbcache"]:
        out.append("nombcache")
    if rules.late_flags and not fs.numbers["prefetch_block_bitmaps"]:
        out.append("no_prefetch_block_bitmaps")
    for option in ("resuid", "resgid"):
        if everything or fs.numbers[option]:
            out.append(f"{option}={fs.numbers[option]}")
    if everything or fs.words["errors"] != default_words["errors"]:
        out.append(f"errors={fs.words['errors']}")
    for option, usual in (("commit", _DEFAULT_COMMIT), ("min_batch_time", 0), ("max_batch_time", 15000)):
        if everything or fs.numbers[option] != usual:
            out.append(f"{option}={fs.numbers[option]}")
    if fs.numbers["i_version"]:
        out.append("i_version")
    if everything or fs.numbers["stripe"]:
        out.append(f"stripe={fs.numbers['stripe']}")
    if (everything and fs.words["data"]) or fs.words["data"] != default_words["data"]:
        out.append(f"data={fs.words['data']}")
    if everything or fs.numbers["inode_readahead_blks"] != 32:
        out.append(f"inode_readahead_blks={fs.numbers['inode_readahead_blks']}")
    out += _tail(fs, everything)
    return [word for word in out if word]


def _shown_quotas(fs: FileSystem, everything: bool) -> list[str]:
    """``quota`` and ``usrquota`` are one pair of bits and always come together."""
    words = {"usrquota": ["quota", "usrquota"], "grpquota": ["grpquota"], "prjquota": ["prjquota"]}
    on = [word for option, shown in words.items() if fs.numbers[option] for word in shown]
    return on or (["noquota"] if everything else [])


def _tail(fs: FileSystem, everything: bool) -> list[str]:
    out = []
    init = fs.numbers["init_itable"]
    if init >= 0 and (everything or init != 10):
        out.append(f"init_itable={init}")
    if everything or fs.numbers["max_dir_size_kb"]:
        out.append(f"max_dir_size_kb={fs.numbers['max_dir_size_kb']}")
    if fs.numbers["data_err_abort"]:
        out.append("data_err=abort")
    if fs.words["jqfmt"]:
        out.append(f"jqfmt={fs.words['jqfmt']}")
    if not fs.numbers["mb_optimize_scan"]:
        out.append("mb_optimize_scan=0")
    return out


def options_file(fs: FileSystem, rules: Rules) -> str:
    """/proc/fs/ext4/DEV/options: ``ro`` or ``rw``, then every option with its present state, one a line.

    jqfmt is glued to the line before it (6.1, observed).
    """
    text = "\n".join(["ro" if fs.read_only else "rw", *_shown(fs, rules, True)]) + "\n"
    return text.replace("\njqfmt=", ",jqfmt=")


def super_options(fs: FileSystem, rules: Rules) -> tuple[str, ...]:
    """The last field of mountinfo: flags of the superblock, then the options that are no defaults."""
    flags = ["ro" if fs.read_only else "rw"] + (["lazytime"] if fs.lazytime else [])
    return (*flags, *_shown(fs, rules, False))
