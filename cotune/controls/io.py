"""IO controls of a group: throttling, weights, latency targets and the cost model."""

from __future__ import annotations

from cotune.controls.base import UNLIMITED, Control, Part, Value, Values, Wanted, Write
from cotune.knobs.base import ValueContext
from cotune.units import human_duration, human_size

_CUT = 2**32
"""What a row that reads 0 was written as: iops are cut to 32 bits, and a limit of 0 is not no limit (Linux 6.18)."""
_NO_DISK = "no such disk, or a partition: the kernel takes whole disks only"


class Throttle(Control):
    """``blkio.throttle.*``: a row ``MAJ:MIN N`` per disk; no row means no limit, kept here as 0."""

    name = "io.throttle"
    controller = "blkio"
    rows = True
    v2 = "io.max"
    causes = {"ENODEV": _NO_DISK, "ENOTSUP": "block throttling is off in this kernel"}

    def parse(self, part: str, text: str, row: str | None) -> Value:
        for line in text.splitlines():
            device, _, number = line.partition(" ")
            if device == row:
                return int(number) or (_CUT if part.endswith("iops") else 0)
        return 0

    def format(self, part: str, value: Value, row: str | None) -> str:
        return f"{row} {value}"

    def show(self, part: str, value: Value) -> str:
        if not value:
            return "max"
        if value == _CUT and part.endswith("iops"):
            return "0/s (2^32 cut to 32 bits)"
        return human_size(int(value)) + "/s" if part.endswith("bps") else f"{value}/s"

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        return 0 if value == UNLIMITED else value

    def looser(self, old: Values, new: Values) -> Values:
        return {part: _looser(old.get(part), value) for part, value in new.items()}


def _looser(first: Value | None, second: Value | None) -> Value | None:
    if isinstance(first, int) and isinstance(second, int):
        return 0 if 0 in (first, second) else max(first, second)
    return second


def _fields(text: str, device: str) -> dict[str, str]:
    """The ``key=value`` words of a device's line; empty when it has none."""
    for line in text.splitlines():
        first, _, rest = line.partition(" ")
        if first == device:
            return dict(word.split("=", 1) for word in rest.split() if "=" in word)
    return {}


class IoMax(Throttle):
    """``io.max``: one line per disk with four keys; a write changes only the keys it names.

    block/blk-throttle.c tg_set_limit: 0 is refused (ERANGE) and ``max`` is the word for no limit.
    """

    name = "io.max"
    controller = "io"
    v2 = ""
    causes = {"ENODEV": _NO_DISK, "ERANGE": "0 is no limit the kernel takes", "EINVAL": "1 is too small for a limit"}
    _keys = {"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops", "write_iops": "wiops"}

    def row(self, part: str, device: str | None) -> str | None:
        return f"{device} {self._keys[part]}"

    def parse(self, part: str, text: str, row: str | None) -> Value:
        device, _, key = (row or "").partition(" ")
        word = _fields(text, device).get(key, "max")
        return 0 if word == "max" else int(word)

    def format(self, part: str, value: Value, row: str | None) -> str:
        device, _, key = (row or "").partition(" ")
        return f"{device} {key}={value or 'max'}"


class IoWeight(Control):
    """``io.weight`` and its other names: ``default N``, then a row per disk with another weight (none is kept as 0)."""

    name = "io.weight"
    controller = "blkio"
    rows = True
    v2 = "io.weight.v2"
    causes = {
        "EINVAL": "a weight is 1 to 10000",
        "ENODEV": _NO_DISK,
        "ENOTSUP": "the cost model is not enabled for this disk: set host.block iocost enable",
    }

    def row(self, part: str, device: str | None) -> str | None:
        return "default" if part == "default" else device

    def parse(self, part: str, text: str, row: str | None) -> Value:
        for line in text.splitlines():
            first, _, number = line.partition(" ")
            if first == row:
                return int(number)
        return 0

    def format(self, part: str, value: Value, row: str | None) -> str:
        return f"{row} {value or 'default'}"

    def show(self, part: str, value: Value) -> str:
        return str(value) if value else "(default)"


class IoWeightV2(IoWeight):
    """The version 2 file: ``io.weight``, or ``io.cost.weight`` on ANCK."""

    name = "io.weight.v2"
    controller = "io"
    v2 = ""


class BfqWeight(Control):
    """``blkio.bfq.weight``, a bare number on version 1, and ``io.bfq.weight``, a table led by ``default N``."""

    name = "io.bfq_weight"
    controller = "blkio"
    v2 = "io.bfq_weight.v2"
    causes = {"ERANGE": "a weight is 1 to 1000"}

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return int(text.splitlines()[0].split()[-1])


class BfqWeightV2(BfqWeight):
    """``io.bfq.weight``."""

    name = "io.bfq_weight.v2"
    controller = "io"
    v2 = ""


class BfqClass(Control):
    """RUE ``blkio.bfq.ioprio_class``: 1 rt, 2 be, 3 idle."""

    name = "io.bfq_ioprio_class"
    controller = "blkio"
    causes = {"EINVAL": "not 1 to 3", "ERANGE": "not 1 to 3"}

    def show(self, part: str, value: Value) -> str:
        return {1: "rt", 2: "be", 3: "idle"}.get(int(value), str(value))


class IoLatency(Control):
    """``io.latency``: ``MAJ:MIN target=µs``; no row means no target, kept as 0."""

    name = "io.latency"
    controller = "io"
    rows = True
    causes = {"ENODEV": _NO_DISK, "EINVAL": "the kernel was built without io.latency, or the group is the root"}

    def row(self, part: str, device: str | None) -> str | None:
        return f"{device} target"

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return int(_fields(text, (row or "").partition(" ")[0]).get("target", "0"))

    def format(self, part: str, value: Value, row: str | None) -> str:
        return f"{(row or '').partition(' ')[0]} target={value}"

    def show(self, part: str, value: Value) -> str:
        return human_duration(int(value)) if value else "(none)"


_AUTO = "auto"


class Cost(Control):
    """``io.cost.qos`` and ``io.cost.model`` of the root group: one line of keys per disk.

    With ``ctrl=auto`` the kernel chooses the numbers, kept here as the word ``auto``; naming any of them makes it
    ``user``, and ``ctrl=auto`` drops them all again (block/blk-iocost.c ioc_qos_write, ioc_cost_model_write). A row
    never disappears: switched off it reads ``enable=0``.
    """

    controller = "blkio"
    rows = True
    coupled = True
    reversible = "partial"
    #: Switched off last: without it ANCK takes no more weights of this disk, not even default.
    last = frozenset((0,))
    causes = {"ENODEV": _NO_DISK, "EINVAL": "min above max, a percentage above 100, or a key this kernel lacks"}

    def __init__(self, name: str, controller: str, v2: str, *parts: Part) -> None:
        super().__init__(*parts)
        self.name, self.controller, self.v2 = name, controller, v2

    def row(self, part: str, device: str | None) -> str | None:
        return f"{device} {part}"

    def parse(self, part: str, text: str, row: str | None) -> Value:
        fields = _fields(text, (row or "").partition(" ")[0])
        ctrl = fields.get("ctrl", _AUTO)
        if part == "enable":
            return int(fields.get("enable", "0"))
        if part == "ctrl":
            return ctrl
        if ctrl == _AUTO:
            return _AUTO
        word = fields.get(part)
        if word is None:
            raise ValueError(f"no {part}")
        return round(float(word) * 100) if part in _PERCENT else int(word)

    def format(self, part: str, value: Value, row: str | None) -> str:
        return self.text(Write(part, value), row)

    def text(self, write: Write, row: str | None) -> str:
        device = (row or "").partition(" ")[0]
        words = [_word(part, value) for part, value in ((write.part, write.value), *write.beside)]
        return " ".join((device, *words))

    def show(self, part: str, value: Value) -> str:
        if value == _AUTO or part in ("enable", "ctrl"):
            return {0: "off", 1: "on"}.get(value, str(value)) if isinstance(value, int) else value
        if part in _PERCENT:
            return f"{int(value) / 100:g}%"
        return human_duration(int(value)) if part in _TIMES else str(value)

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        low, high = _CLAMPED.get(part, (0, 0))
        return min(max(int(value), low), high) if high and value != _AUTO else value

    def settle(self, old: Values, wanted: Wanted, context: ValueContext) -> Values:
        new = super().settle(old, wanted, context)
        named = [part for part in self._numbers() if wanted.get(part) not in (None, _AUTO)]
        if named:
            new["ctrl"] = "user"
        if new.get("ctrl") == "user":
            # numbers nobody named keep what the kernel chose for this disk
            new.update({p: None for p in self._numbers() if new.get(p) == _AUTO})
        else:
            new.update(dict.fromkeys(self._numbers(), _AUTO))
        return {part: value for part, value in new.items() if part in self.parts}

    def refusal(self, old: Values, new: Values, context: ValueContext) -> str | None:
        low, high = new.get("min"), new.get("max")
        if isinstance(low, int) and isinstance(high, int) and low > high:
            return f"iocost min {self.show('min', low)} is above max {self.show('max', high)}"
        return None

    def writes(self, old: Values, new: Values) -> list[Write]:
        ctrl = new.get("ctrl")
        changed = {
            part: value
            for part, value in new.items()
            if value is not None and value != old.get(part) and not (part in self._numbers() and value == _AUTO)
        }
        if not changed:
            return []
        if ctrl == _AUTO:
            changed = {part: value for part, value in changed.items() if part in ("enable", "ctrl")}
        first, *rest = changed.items()
        return [Write(first[0], first[1], tuple(rest))]

    def after(self, state: Values, write: Write) -> Values:
        following = super().after(state, write)
        if following.get("ctrl") == _AUTO:
            return {**following, **dict.fromkeys([p for p in self._numbers() if p in state], _AUTO)}
        return {
            part: None if value == _AUTO and part in self._numbers() else value for part, value in following.items()
        }

    def _numbers(self) -> list[str]:
        return [part for part in self.parts if part not in ("enable", "ctrl")]


_TIMES = ("rlat", "wlat")
_PERCENT = ("rpct", "wpct", "min", "max")
#: block/blk-iocost.c: VRATE_MIN_PPM and VRATE_MAX_PPM, in hundredths of a percent
_CLAMPED = {"min": (100, 1_000_000), "max": (100, 1_000_000)}
QOS = ("enable", "ctrl", "rpct", "rlat", "wpct", "wlat", "min", "max")
MODEL = ("ctrl", "rbps", "rseqiops", "rrandiops", "wbps", "wseqiops", "wrandiops")


def _word(part: str, value: Value) -> str:
    return f"{part}={int(value) / 100:.2f}" if part in _PERCENT else f"{part}={value}"


def _cost(kind: str, keys: tuple[str, ...], prefix: str) -> tuple[Cost, Cost]:
    """The version 1 and the version 2 form of one cost file of the root group."""
    name = f"io.cost.{kind}"

    def parts(version: str, file: str) -> list[Part]:
        return [Part(key, f"{prefix}.{key}", {version: file}) for key in keys]

    return (
        Cost(name, "blkio", f"{name}.v2", *parts("v1", f"blkio.cost.{kind}")),
        Cost(f"{name}.v2", "io", "", *parts("v2", f"io.cost.{kind}")),
    )


_READWRITE = ("readwrite_bps", "readwrite_iops")

CONTROLS: tuple[Control, ...] = (
    *_cost("qos", QOS, "block.iocost"),
    *_cost("model", MODEL, "block.iocost.model"),
    Throttle(
        Part("read_bps", "io.throttle.read_bps", {"v1": "blkio.throttle.read_bps_device"}, 0),
        Part("write_bps", "io.throttle.write_bps", {"v1": "blkio.throttle.write_bps_device"}, 0),
        Part("read_iops", "io.throttle.read_iops", {"v1": "blkio.throttle.read_iops_device"}, 0),
        Part("write_iops", "io.throttle.write_iops", {"v1": "blkio.throttle.write_iops_device"}, 0),
        *(Part(name, f"io.throttle.{name}", {"v1": f"blkio.throttle.{name}_device"}, 0) for name in _READWRITE),
    ),
    IoMax(
        Part("read_bps", "io.throttle.read_bps", {"v2": "io.max"}, 0, at_root=False),
        Part("write_bps", "io.throttle.write_bps", {"v2": "io.max"}, 0, at_root=False),
        Part("read_iops", "io.throttle.read_iops", {"v2": "io.max"}, 0, at_root=False),
        Part("write_iops", "io.throttle.write_iops", {"v2": "io.max"}, 0, at_root=False),
    ),
    IoWeight(
        # the root group has no weight, but the cost model it belongs to
        Part("default", "io.weight", {"v1": "blkio.cost.weight"}, 100, at_root=False, sign="blkio.cost.qos"),
        Part("device", "io.weight.weight", {"v1": "blkio.cost.weight"}, 0, at_root=False, sign="blkio.cost.qos"),
    ),
    IoWeightV2(
        Part("default", "io.weight", {"v2": "io.weight"}, 100, at_root=False, also=("io.cost.weight",)),
        Part("device", "io.weight.weight", {"v2": "io.weight"}, 0, at_root=False, also=("io.cost.weight",)),
    ),
    BfqWeight(Part("bfq_weight", "io.bfq_weight", {"v1": "blkio.bfq.weight"}, 100, at_root=False)),
    BfqWeightV2(Part("bfq_weight", "io.bfq_weight", {"v2": "io.bfq.weight"}, 100, at_root=False)),
    BfqClass(
        Part("bfq_ioprio_class", "io.bfq_ioprio_class", {"v1": "blkio.bfq.ioprio_class"}, 2, at_root=False),
    ),
    IoLatency(Part("target", "io.latency.target", {"v2": "io.latency"}, 0, at_root=False)),
)
