"""What a process, and the machine, have used of processor and disk (Linux)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_SECTOR_BYTES: Final = 512
"""Of all counters of the kernel, whatever the device has."""


def cpu_seconds(pid: int) -> float | None:
    """Processor time of ``pid`` since it started, user and system; None when it is gone.

    proc(5): utime and stime are fields 14 and 15; field 2 is a name that may hold spaces.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def times_waited(pid: int) -> int | None:
    """How often the threads of ``pid`` that live gave up the processor to wait; None: it is gone.

    proc(5), /proc/pid/status: voluntary_ctxt_switches, of each thread its own.
    """
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # this thread ended meanwhile
                text = (task / "status").read_text(encoding="utf-8", errors="replace")
                total += int(text.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])
    except OSError:
        return None
    return total


def device_bytes(folder: Path) -> int | None:
    """Bytes written to the disk that holds ``folder`` since the machine started, by everybody.

    Per process there is no honest figure: ``write_bytes`` of /proc/PID/io counts a whole folio of
    the page cache, up to megabytes, when one byte of it becomes dirty. None where the file system
    is not on one block device.
    """
    try:
        device = os.stat(folder).st_dev
        name = f"{os.major(device)}:{os.minor(device)}"
        fields = Path(f"/sys/dev/block/{name}/stat").read_text(encoding="ascii").split()
    except OSError:
        return None
    return int(fields[6]) * _SECTOR_BYTES


def machine_busy_seconds() -> float | None:
    """Processor time that was not idle since the machine started, all processors together.

    What a hypervisor took away for others ("steal") counts as busy: it was not there for us.
    None where there is no /proc.
    """
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()
    except OSError:
        return None
    # proc(5): user nice system idle iowait irq softirq steal guest guest_nice; guests are in user.
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
