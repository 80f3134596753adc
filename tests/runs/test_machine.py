"""How many cores a process may use."""

import os

import pytest

from repro.runs import machine

FILES = {"max": "cpu.max", "quota": "cpu.cfs_quota_us", "period": "cpu.cfs_period_us"}


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Control groups of a process on a machine of 8 cores: its list, and files by path."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")

    def write(own, **files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            *folders, name = name.split("__")
            path = tmp_path.joinpath("cgroup", *folders, FILES[name])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_without_a_quota_all_cores_of_the_affinity_count(groups):
    assert machine.cores() == 8  # no control groups at all
    groups("0::/a\n", a__max="max 100000\n")
    assert machine.cores() == 8


def test_a_quota_of_version_2_counts_also_that_of_a_group_above(groups):
    groups("0::/a/b\n", a__max="250000 100000\n", a__b__max="max 100000\n")
    assert machine.cores() == 2


def test_a_quota_of_version_1_counts_where_a_container_sees_it(groups):
    own = "5:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n"
    groups(own, cpu__quota="50000\n", cpu__period="100000\n")
    assert machine.cores() == 1
    groups(own, cpu__quota="-1\n")
    assert machine.cores() == 8


def test_without_affinities_as_on_macos_the_machines_cores_count(groups, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert machine.cores() == 6
