# SPDX-License-Identifier: MIT
"""What the figures depend on: the machine, the kernel, the compiler and its flags, the versions."""

import json
import os
import pathlib
import re
import subprocess


def read(path):
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def cpu_model():
    found = re.search(r"^model name\s*: (.*)$", read("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1) if found else os.uname().machine


def cpu_quota():
    """The tightest of this process's cgroup and its parents, in CPUs."""
    groups = {fields[1]: fields[2] for fields in (line.split(":", 2) for line in read("/proc/self/cgroup").splitlines())}
    quotas = list(quotas_of("/sys/fs/cgroup", groups.get("", "/"), "cpu.max"))
    for controllers, path in groups.items():
        if "cpu" in controllers.split(","):
            quotas += quotas_of("/sys/fs/cgroup/cpu", path, "cpu.cfs_quota_us", "cpu.cfs_period_us")
    return f"{min(quotas):g} CPUs" if quotas else "none"


def quotas_of(mount, path, *names):
    directory = pathlib.PurePosixPath(path)
    for group in (directory, *directory.parents):
        fields = " ".join(read(f"{mount}/{str(group).strip('/')}/{name}") for name in names).split()
        if len(fields) == 2 and fields[0] not in ("max", "-1"):
            yield int(fields[0]) / int(fields[1])


def flags(directory):
    """What the build's own record says of the programs in its directory."""
    record = read(pathlib.Path(directory) / "../meson-info/intro-buildoptions.json")
    options = {option["name"]: option["value"] for option in json.loads(record or "[]")}
    names = ("buildtype", "c_args", "cpp_args", "b_lto", "hardening")
    said = (options.get(name) for name in names)
    return ", ".join(
        f"{name} {' '.join(value) if isinstance(value, list) else value}" for name, value in zip(names, said) if value != []
    )


def first_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")[0]
    except OSError:
        return "none"


def describe(directory, libraries):
    """(what, its value) pairs for the table's head."""
    system = os.uname()
    yield "CPU", f"{cpu_model()}, {os.cpu_count()} cores"
    yield "affinity", " ".join(map(str, sorted(os.sched_getaffinity(0))))
    yield "quota", cpu_quota()
    yield "kernel", f"{system.sysname} {system.release} {system.machine}"
    yield "compiler", first_line("cc", "--version")
    yield "flags", flags(directory)
    for library in libraries:
        if not library.name.endswith("-again"):
            yield library.name, library.version()
