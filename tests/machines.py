"""Machines of files: a folder that holds what proc and sys of a laptop, a Jetson or a container hold."""

from __future__ import annotations

from pathlib import Path

from edgex.cores import usable_cores

CORE = usable_cores()[0]
CPU = f"sys/devices/system/cpu/cpu{CORE}"
LAPTOP = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i7-1365U\nphysical id\t: 0\ncore id\t: 0\n"
    "flags\t: fpu avx2 avx_vnni\n\nprocessor\t: 1\nmodel name\t: Intel(R) Core(TM) i7-1365U\nphysical id\t: 0\n"
    "core id\t: 0\nflags\t: fpu avx2 avx_vnni\n\n",
    "proc/meminfo": "MemTotal:       16145512 kB\nMemAvailable:    9000000 kB\n",
    "proc/stat": f"cpu  9 0 9 9 0 0 0 9 0 0\ncpu{CORE} 1000 50 200 8000 30 0 20 10 0 0\nintr 5\n",
    "proc/self/statm": "90000 45000 9000 1 0 50000 0\n",
    "proc/self/status": "Name:\tpython3\nVmHWM:\t  190000 kB\nVmRSS:\t  180000 kB\n",
    "proc/self/cgroup": "0::/user.slice/bench.scope\n",
    "sys/fs/cgroup/user.slice/bench.scope/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/user.slice/bench.scope/cpu.stat": "usage_usec 5\nnr_throttled 2\nthrottled_usec 30000\n",
    "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
    "sys/fs/cgroup/user.slice/memory.max": "4000000000\n",
    "sys/fs/cgroup/cpu.stat": "usage_usec 5\n",
    "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "etc/hostname": "secret-host\n",
    f"{CPU}/cpufreq/scaling_cur_freq": "3900000\n",
    f"{CPU}/cpufreq/scaling_governor": "powersave\n",
    f"{CPU}/cpufreq/cpuinfo_min_freq": "400000\n",
    f"{CPU}/cpufreq/cpuinfo_max_freq": "5200000\n",
    f"{CPU}/thermal_throttle/core_throttle_count": "3\n",
    f"{CPU}/thermal_throttle/package_throttle_count": "4\n",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "0\n",
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "5000000\n",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850\n",
    "sys/class/powercap/intel-rapl:0:0/name": "core\n",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "1\n",
    "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone0/temp": "61000\n",
    "sys/class/thermal/thermal_zone1/type": "off\n",
    "sys/class/thermal/thermal_zone1/temp": "-274000\n",
}
LAPTOP_CACHES = (("Data", "1", "48K"), ("Instruction", "1", "32K"), ("Unified", "2", "1280K"), ("Unified", "3", "12M"))
JETSON = {
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\nCPU implementer\t: 0x41\n\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    "var/lib/nvpmodel/status": "pmode:0002",
    "sys/class/hwmon/hwmon1/name": "ina3221\n",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN\n",
    "sys/class/hwmon/hwmon1/in1_input": "4992\n",
    "sys/class/hwmon/hwmon1/curr1_input": "1500\n",
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages\n",
    "sys/bus/i2c/drivers/ina3221x/0-0041/iio:device1/rail_name_0": "POM_5V_IN\n",
    "sys/bus/i2c/drivers/ina3221x/0-0041/iio:device1/in_power0_input": "3210\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "612000000\n",
    "sys/class/devfreq/17000000.gpu/device/load": "734\n",
    "sys/class/thermal/thermal_zone0/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "55250\n",
}
CONTAINER = {  # control groups of version 1, whose path is that of the host and cannot be seen from within
    "proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/f00\n2:cpu,cpuacct:/docker/f00\n",
    "sys/fs/cgroup/cpu/cpu.stat": "nr_periods 100\nnr_throttled 7\nthrottled_time 2500000000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
}


def build(root: Path, files: dict[str, str]) -> Path:
    """Write the files of a machine below a folder, and return it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def build_laptop(root: Path) -> Path:
    """Write a laptop with its caches."""
    caches = {
        f"sys/devices/system/cpu/cpu0/cache/index{index}/{name}": f"{value}\n"
        for index, cache in enumerate(LAPTOP_CACHES)
        for name, value in zip(("type", "level", "size"), cache, strict=True)
    }
    return build(root, {**LAPTOP, **caches})
