"""How many cores a process may use: its affinity, and what the files of control groups say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cores import cores_within, parse_cfs, parse_cpu_max, quotas, usable_cores

ROOT = Path(__file__).resolve().parents[2]

# Lines of /proc/self/mountinfo: of a machine with version 2, with version 1, and what stands beside them.
DISK = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw"
V2 = "31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1_CPU = "33 32 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "34 32 0:30 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory"
V1_SET = "35 32 0:31 / /sys/fs/cgroup/cpuset rw,nosuid shared:9 - cgroup cgroup rw,cpuset"


def machine(root: Path, cgroup: str, mounts: list[str], files: dict[str, str]) -> Path:
    """A root folder that looks like that of a machine."""
    contents = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": "\n".join(mounts) + "\n", **files}
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    return root


# --- version 2


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpu.max": "200000 100000\n"}
    assert quotas(machine(tmp_path, "0::/\n", [DISK, V2], files)) == [2.0]


def test_a_service_has_its_group_below_the_mount(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/system.slice/stt-server.service/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/system.slice/cpu.max": "max 100000\n",
    }
    assert quotas(machine(tmp_path, "0::/system.slice/stt-server.service\n", [DISK, V2], files)) == [1.5]


def test_the_quotas_of_all_groups_around_count(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/a/b/c/cpu.max": "400000 100000\n",
        "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
        "sys/fs/cgroup/a/cpu.max": "100000 50000\n",
        "sys/fs/cgroup/other/cpu.max": "100000 100000\n",
        "sys/fs/cpu.max": "100000 100000\n",  # outside the mount
    }
    found = quotas(machine(tmp_path, "0::/a/b/c\n", [DISK, V2], files))
    assert sorted(found) == [2.0, 4.0]
    assert cores_within(64, found) == 2


def test_a_group_outside_what_is_mounted_has_the_mounts_own(tmp_path: Path) -> None:
    mount = V2.replace("0:26 /", "0:26 /../..")
    files = {"sys/fs/cgroup/cpu.max": "300000 100000\n"}
    assert quotas(machine(tmp_path, "0::/\n", [DISK, mount], files)) == [3.0]


# --- version 1


def test_a_quota_of_version_1_is_that_of_the_cpu_controller(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "250000\n",
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpuset/box/cpu.cfs_quota_us": "100000\n",
        "sys/fs/cgroup/cpuset/box/cpu.cfs_period_us": "100000\n",
    }
    cgroup = "5:cpuset:/box\n4:memory:/elsewhere\n3:cpu,cpuacct:/box\n1:name=systemd:/box\n0::/\n"
    assert quotas(machine(tmp_path, cgroup, [DISK, V1_SET, V1_MEMORY, V1_CPU], files)) == [2.5]


def test_a_container_that_sees_the_path_of_its_group_outside(tmp_path: Path) -> None:
    """Docker before control group namespaces: the group's folder is mounted, its path is that of the machine."""
    mount = V1_CPU.replace("0:29 /", "0:29 /docker/abc")
    files = {
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_quota_us": "200000\n",
        "sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_period_us": "100000\n",
    }
    assert quotas(machine(tmp_path, "3:cpu,cpuacct:/docker/abc/inner\n", [DISK, mount], files)) == [2.0, 4.0]


def test_both_versions_side_by_side_count(tmp_path: Path) -> None:
    unified = V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    files = {
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/unified/x/cpu.max": "200000 100000\n",
    }
    assert sorted(quotas(machine(tmp_path, "3:cpu,cpuacct:/\n0::/x\n", [V1_CPU, unified], files))) == [2.0, 3.0]


# --- what is not there


@pytest.mark.parametrize("cgroup", ["", "0::/\n", "nonsense\n", "0\n", "::\n", "0::/" + 400 * "a" + "\n", "0::/a\0b\n"])
@pytest.mark.parametrize("mount", ["", V2, "nonsense", "1 2 3 - cgroup2", V2.replace("/sys", r"/\040sys\999")])
def test_what_cannot_be_read_limits_nothing(tmp_path: Path, cgroup: str, mount: str) -> None:
    assert quotas(machine(tmp_path, cgroup, [mount], {})) == []


def test_a_machine_without_proc_limits_nothing(tmp_path: Path) -> None:
    assert quotas(tmp_path) == []


def test_a_mount_whose_path_has_a_blank(tmp_path: Path) -> None:
    files = {"my groups/cpu.max": "200000 100000"}
    assert quotas(machine(tmp_path, "0::/\n", [V2.replace("/sys/fs/cgroup", r"/my\040groups")], files)) == [2.0]


@pytest.mark.parametrize("text", ["", "max 100000\n", "max", "100000", "1 0", "-1 100000", "x y", "1.5 1"])
def test_a_line_without_a_limit_is_none(text: str) -> None:
    assert parse_cpu_max(text) is None


@pytest.mark.parametrize(("quota", "period"), [("-1\n", "100000\n"), ("", ""), ("100000\n", "0\n"), ("x", "1")])
def test_a_quota_of_version_1_without_a_limit_is_none(quota: str, period: str) -> None:
    assert parse_cfs(quota, period) is None


# --- how many


@pytest.mark.parametrize(
    ("affinity", "limits", "cores"),
    [
        (64, [], 64),
        (64, [2.0], 2),
        (2, [64.0], 2),
        (8, [2.9], 2),
        (8, [0.1], 1),
        (8, [4.0, 3.0, 6.0], 3),
        (8, [0.0], 1),
    ],
)
def test_the_least_counts_in_whole_cores_and_one_at_least(affinity: int, limits: list[float], cores: int) -> None:
    assert cores_within(affinity, limits) == cores


@given(st.integers(1, 1024), st.lists(st.floats(0, 2000, allow_nan=False)))
def test_no_more_than_affinity_and_quotas_allow(affinity: int, limits: list[float]) -> None:
    cores = cores_within(affinity, limits)
    assert 1 <= cores <= affinity
    assert all(cores <= max(1, limit) for limit in limits)


def test_this_process_counts_its_affinity_at_most() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


def test_a_process_that_is_bound_to_one_core_counts_one() -> None:
    code = """
import os
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from engine.turns import CORES
print(CORES)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
