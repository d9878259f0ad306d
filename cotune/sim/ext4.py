"""ext4 mount options: parsing on remount, and how the kernel shows them (fs/ext4/super.c).

``FileSystem.numbers`` and ``.words`` hold the options in force. Numbers of flags are 0 or 1; times are seconds for
commit and microseconds for the batch times.
"""

from __future__ import annotations

import errno

from cotune.sim.files import INT_MAX, Refusal, parse_u64, refuse
from cotune.sim.machine import FileSystem

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
    "i_version": ("i_version", 1),
    "acl": ("acl", 1),
    "user_xattr": ("user_xattr", 1),
}
#: Flag words of 4.19 only; newer kernels refuse the first two as unknown.
_FLAGS_419 = {"noacl": ("acl", 0), "nouser_xattr": ("user_xattr", 0)}
_FLAGS_618 = {
    "warn_on_error": ("warn_on_error", 1),
    "nowarn_on_error": ("warn_on_error", 0),
    "prefetch_block_bitmaps": ("prefetch_block_bitmaps", 1),
    "no_prefetch_block_bitmaps": ("prefetch_block_bitmaps", 0),
}
#: Words that are accepted and change nothing: the kernel only warns.
_IGNORED = frozenset(("journal_checksum", "nojournal_checksum", "noquota", "oldalloc", "orlov"))
#: Words a remount refuses on every kernel: they belong to the first mount, to mkfs, or to another file system.
_REFUSED = frozenset(("journal_dev", "journal_path", "sb", "test_dummy_encryption"))
_NUMBERS = ("commit", "min_batch_time", "max_batch_time", "journal_ioprio", "stripe", "inode_readahead_blks",
            "init_itable", "max_dir_size_kb", "resuid", "resgid", "barrier", "auto_da_alloc")  # fmt: skip
_DATA_MODES = ("journal", "ordered", "writeback")
_ERROR_MODES = ("continue", "remount-ro", "panic")
_DEFAULT_COMMIT = 5


class Rules:
    """What differs between kernels. ``anck`` is 4.19 (HZ assumed 1000), otherwise a 6.x kernel as probed (HZ 250)."""

    def __init__(self, anck: bool) -> None:
        self.anck = anck
        self.flags = {**_FLAGS, **(_FLAGS_419 if anck else _FLAGS_618)}
        #: The commit interval is stored in jiffies in an int.
        self.max_commit = INT_MAX // (1000 if anck else 250)


def change(fs: FileSystem, words: list[str], rules: Rules) -> tuple[dict[str, int], dict[str, str]]:
    """The options after a remount with these words; the file system is not touched. EINVAL if any word is bad."""
    numbers, texts = dict(fs.numbers), dict(fs.words)
    for word in words:
        _apply(fs, word, numbers, texts, rules)
    if numbers["journal_async_commit"] and texts["data"] == "ordered":
        refuse(errno.EINVAL)
    if texts["data"] == "journal" and (numbers["delalloc"] or numbers["dioread_nolock"]):
        refuse(errno.EINVAL)
    return numbers, texts


def _apply(fs: FileSystem, word: str, numbers: dict[str, int], texts: dict[str, str], rules: Rules) -> None:
    key, has_value, value = word.partition("=")
    if has_value:
        _apply_value(fs, key, value, numbers, texts, rules)
    elif word in rules.flags:
        option, number = rules.flags[word]
        numbers[option] = number
    elif word == "prjquota":
        if not fs.spec.project_quota:
            refuse(errno.EINVAL)
        numbers["prjquota"] = 1
    elif word == "noquota" and numbers["prjquota"]:
        refuse(errno.EINVAL)  # enforcement cannot be switched off by a remount
    elif word == "dax" and rules.anck:
        return  # 4.19 warns and keeps the old state
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
    elif key in _NUMBERS and key not in _REFUSED:
        numbers[key] = _bounded(key, value, rules)
    else:
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
        ("dioread_nolock", "dioread_nolock", "dioread_lock"),
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
        ("debug", "debug", ""),
        ("prjquota", "prjquota", "noquota"),
        ("mbcache", "", "nombcache"),
    ]
    return [line for line in lines if line[0] != "warn_on_error" or not rules.anck]


def _shown(fs: FileSystem, rules: Rules, everything: bool) -> list[str]:
    """_ext4_show_options: all options, or those that differ from the superblock's defaults."""
    default = dict(fs.spec.numbers)
    default_words = dict(fs.spec.words)
    # prjquota is never a default, whatever the file system was mounted with at first.
    default["prjquota"] = 0
    out = []
    for option, on, off in _flag_lines(rules):
        value = fs.numbers[option]
        if everything or value != default[option]:
            out.append(on if value else off)
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
    if everything or fs.words["data"] != default_words["data"]:
        out.append(f"data={fs.words['data']}")
    if everything or fs.numbers["inode_readahead_blks"] != 32:
        out.append(f"inode_readahead_blks={fs.numbers['inode_readahead_blks']}")
    out += _tail(fs, rules, everything)
    return [word for word in out if word]


def _tail(fs: FileSystem, rules: Rules, everything: bool) -> list[str]:
    out = []
    init = fs.numbers["init_itable"]
    if init >= 0 and (everything or init != 10):
        out.append(f"init_itable={init}")
    if init < 0 and not everything:
        out.append("noinit_itable")
    if everything or fs.numbers["max_dir_size_kb"]:
        out.append(f"max_dir_size_kb={fs.numbers['max_dir_size_kb']}")
    if fs.numbers["data_err_abort"]:
        out.append("data_err=abort")
    if not rules.anck and fs.numbers["prefetch_block_bitmaps"] == int(everything):
        out.append("prefetch_block_bitmaps" if everything else "no_prefetch_block_bitmaps")
    return out


def options_file(fs: FileSystem, rules: Rules) -> str:
    """/proc/fs/ext4/DEV/options: ``ro`` or ``rw``, then every option with its present state, one a line."""
    return "\n".join(["ro" if fs.read_only else "rw", *_shown(fs, rules, True)]) + "\n"


def super_options(fs: FileSystem, rules: Rules) -> tuple[str, ...]:
    """The last field of mountinfo: flags of the superblock, then the options that are no defaults."""
    flags = ["ro" if fs.read_only else "rw"] + (["lazytime"] if fs.lazytime else [])
    return (*flags, *_shown(fs, rules, False))
