"""IO controls of a group."""

from __future__ import annotations

from cotune.controls.base import UNLIMITED, Control, Part, Value, Values
from cotune.knobs.base import ValueContext
from cotune.units import human_size


class Throttle(Control):
    """``blkio.throttle.*``: a row ``MAJ:MIN N`` per disk; no row means no limit, kept here as 0."""

    name = "io.throttle"
    controller = "blkio"
    rows = True
    causes = {
        "ENODEV": "no such disk, or a partition: throttling works on whole disks",
        "EOPNOTSUPP": "block throttling is off in this kernel",
    }

    def parse(self, part: str, text: str, row: str | None) -> Value:
        for line in text.splitlines():
            device, _, number = line.partition(" ")
            if device == row:
                return int(number)
        return 0

    def format(self, part: str, value: Value, row: str | None) -> str:
        return f"{row} {value}"

    def show(self, part: str, value: Value) -> str:
        if not value:
            return "max"
        return human_size(int(value)) + "/s" if part.endswith("bps") else f"{value}/s"

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        return 0 if value == UNLIMITED else value

    def looser(self, old: Values, new: Values) -> Values:
        return {part: _looser(old.get(part), value) for part, value in new.items()}


def _looser(first: Value | None, second: Value | None) -> Value | None:
    if isinstance(first, int) and isinstance(second, int):
        return 0 if 0 in (first, second) else max(first, second)
    return second


CONTROLS = (
    Throttle(
        Part("read_bps", "io.throttle.read_bps", {"v1": "blkio.throttle.read_bps_device"}, 0),
        Part("write_bps", "io.throttle.write_bps", {"v1": "blkio.throttle.write_bps_device"}, 0),
        Part("read_iops", "io.throttle.read_iops", {"v1": "blkio.throttle.read_iops_device"}, 0),
        Part("write_iops", "io.throttle.write_iops", {"v1": "blkio.throttle.write_iops_device"}, 0),
    ),
)
