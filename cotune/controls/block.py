"""Controls of a block device's queue."""

from __future__ import annotations

from cotune.controls.base import Control, Part, Value, Values, Wanted, Write
from cotune.knobs.base import ValueContext

#: Scheduler → its tunables that have a knob (block/mq-deadline.c, block/bfq-iosched.c, block/kyber-iosched.c).
TUNABLES = {
    "mq-deadline": ("read_expire", "write_expire", "writes_starved", "front_merges", "fifo_batch"),
    "bfq": ("low_latency", "slice_idle", "strict_guarantees"),
    "kyber": ("read_lat_nsec", "write_lat_nsec"),
}
#: Other names the kernel takes → the one it shows (block/elevator.c).
_ALIASES: dict[Value, str] = {"deadline": "mq-deadline"}


class Queue(Control):
    """``queue/scheduler`` with ``queue/nr_requests`` and the tunables below ``queue/iosched``.

    Changing the scheduler resets the depth and replaces all tunables (block/elevator.c); those of another scheduler
    have no file until it is the one in use.
    """

    name = "block.queue"
    coupled = True
    scope = "block"
    reversible = "partial"
    resets = ("nr_requests", "iosched/*")
    causes = {"EINVAL": "a scheduler this kernel lacks, or more requests than the device's tag set has"}

    def __init__(self, *parts: Part) -> None:
        super().__init__(*parts)
        self.transient = frozenset(part.name for part in parts if part.name.startswith("iosched/"))

    def parse(self, part: str, text: str, row: str | None) -> Value:
        if part != "scheduler":
            return int(text)
        active = [word[1:-1] for word in text.split() if word.startswith("[")]
        return active[0] if active else text.strip()

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        return _ALIASES.get(value, value) if part == "scheduler" else value

    def comes_later(self, part: str, old: Values, wanted: Wanted) -> bool:
        name = str(wanted.get("scheduler"))
        scheduler = _ALIASES.get(name, name)
        return scheduler != old.get("scheduler") and part.removeprefix("iosched/") in TUNABLES.get(scheduler, ())

    def settle(self, old: Values, wanted: Wanted, context: ValueContext) -> Values:
        new = super().settle(old, wanted, context)
        if new.get("scheduler") != old.get("scheduler"):
            # the new scheduler's own defaults, not known before
            new.update({part: None for part in old if part != "scheduler" and wanted.get(part) is None})
        return new

    def after(self, state: Values, write: Write) -> Values:
        if write.part == "scheduler":
            return {**dict.fromkeys(state), "scheduler": write.value}
        return super().after(state, write)

    def writes(self, old: Values, new: Values) -> list[Write]:
        switched = new.get("scheduler") is not None and new["scheduler"] != old.get("scheduler")
        return [
            Write(part, value)
            for part, value in sorted(new.items(), key=lambda item: list(self.parts).index(item[0]))
            if value is not None and (value != old.get(part) or (switched and part != "scheduler"))
        ]


class QueueNumber(Control):
    """One number of a block queue."""

    scope = "block"

    def __init__(self, name: str, part: Part, causes: dict[str, str] | None = None) -> None:
        super().__init__(part)
        self.name = name
        self.causes = causes or {}


class ReadAhead(QueueNumber):
    """``queue/read_ahead_kb``: whole pages (block/blk-sysfs.c queue_ra_store)."""

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        page = max(1, context.page_size // 1024)
        return int(value) // page * page


def _number(name: str, causes: dict[str, str] | None = None) -> QueueNumber:
    return QueueNumber(f"block.{name}", Part(name, f"block.{name}", {"any": name}), causes)


CONTROLS: tuple[Control, ...] = (
    Queue(
        Part("scheduler", "block.scheduler", {"any": "scheduler"}),
        Part("nr_requests", "block.nr_requests", {"any": "nr_requests"}),
        *(
            Part(f"iosched/{name}", f"block.iosched.{name}", {"any": f"iosched/{name}"})
            for names in TUNABLES.values()
            for name in names
        ),
    ),
    QueueNumber("block.wbt", Part("wbt_lat_usec", "block.wbt_lat_usec", {"any": "wbt_lat_usec"})),
    ReadAhead("block.read_ahead", Part("read_ahead_kb", "block.read_ahead_kb", {"any": "read_ahead_kb"})),
    *(_number(name) for name in ("rq_affinity", "nomerges", "iostats", "add_random")),
    _number("max_sectors_kb", {"EINVAL": "less than a page, or more than queue/max_hw_sectors_kb"}),
)
