"""How many processor cores this process may use: by its affinity, and by the quotas of its control groups.

A container or a service with a quota (`docker run --cpus 2`, `CPUQuota=200%`) sees every core of the machine in its
affinity. Whoever computes with a thread for each of them is stopped for most of every tenth of a second.

Kernel documentation: admin-guide/cgroup-v2.rst (`cpu.max`), scheduler/sched-bwc.rst (version 1), and proc(5).
"""

import contextlib
import os
import re
from pathlib import Path, PurePosixPath
from typing import Iterator, List, NamedTuple, Optional


def usable_cores() -> int:
    """Whole cores, at least one."""
    return cores_within(len(os.sched_getaffinity(0)), quotas(Path("/")))


def cores_within(affinity: int, quotas: List[float]) -> int:
    """Whole cores of `affinity` that the tightest quota (in cores) leaves, at least one.

    Part of a core is not counted: a thread that is stopped half the time holds up those that wait for its share.
    """
    return max(1, int(min([affinity, *quotas])))


def quotas(root: Path) -> List[float]:
    """The quotas, in cores, of this process's control groups and of the groups around them.

    What cannot be read limits nothing. `root` is the root of the file system.
    """
    found: List[float] = []
    for folder in group_folders(_read(root / "proc/self/cgroup"), _read(root / "proc/self/mountinfo")):
        own = root / folder.relative_to("/")
        for quota in (
            parse_cpu_max(_read(own / "cpu.max")),
            parse_cfs(_read(own / "cpu.cfs_quota_us"), _read(own / "cpu.cfs_period_us")),
        ):
            if quota is not None:
                found.append(quota)
    return found


def _read(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):  # there is none, or none for us
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    return ""


# --- what the files say ----------------------------------------------------------------------


def parse_cpu_max(text: str) -> Optional[float]:
    """`cpu.max` of version 2, "QUOTA PERIOD" in µs or "max PERIOD" → cores; None without a limit."""
    quota, _, period = text.strip().partition(" ")
    return _cores(quota, period)


def parse_cfs(quota: str, period: str) -> Optional[float]:
    """`cpu.cfs_quota_us` (-1: no limit) and `cpu.cfs_period_us` of version 1 → cores; None without a limit."""
    return _cores(quota.strip(), period.strip())


def _cores(quota: str, period: str) -> Optional[float]:
    if not (quota.isdecimal() and period.isdecimal()) or int(period) == 0:
        return None
    return int(quota) / int(period)


class _Mount(NamedTuple):
    """A hierarchy of control groups, as this process sees it: group `root` of it stands at `point`."""

    root: PurePosixPath
    point: PurePosixPath
    version: int


def group_folders(cgroup: str, mountinfo: str) -> List[PurePosixPath]:
    """/proc/self/cgroup, /proc/self/mountinfo → the folders of the groups that may limit this process, inmost first."""
    folders: List[PurePosixPath] = []
    for line in cgroup.splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        version = 1 if "cpu" in controllers.split(",") else 2 if not controllers else 0
        for mount in _mounts(mountinfo):
            if mount.version == version:
                folders += _up_to(mount, PurePosixPath(path))
    return folders


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    for line in mountinfo.splitlines():
        mounted, _, source = line.partition(" - ")
        fields, (kind, _, options) = mounted.split(" "), [*source.split(" "), "", ""][:3]
        version = {"cgroup": 1, "cgroup2": 2}.get(kind, 0)
        if len(fields) < 5 or not version or (version == 1 and "cpu" not in options.split(",")):
            continue
        yield _Mount(_path(fields[3]), _path(fields[4]), version)


def _path(field: str) -> PurePosixPath:
    """A path in mountinfo, where blanks and the like are octal numbers."""
    return PurePosixPath(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), field))


def _up_to(mount: _Mount, group: PurePosixPath) -> Iterator[PurePosixPath]:
    """The folders of a group and of those around it, as far as they are mounted.

    A group that is not below what is mounted is that of a container which sees its own group as the root.
    """
    inside = group.relative_to(mount.root) if mount.root in (group, *group.parents) else PurePosixPath()
    folder = mount.point / inside
    yield folder
    for parent in folder.parents:
        if mount.point not in (parent, *parent.parents):
            return
        yield parent
