"""What a result was measured with, and nothing about whom."""

import getpass
import platform

from secateur.reporting.environment import environment, processor


def test_says_processor_and_versions_but_no_names():
    facts = environment()
    assert facts["python"] == platform.python_version()
    assert {"processor", "system", "secateur", "numpy"} <= set(facts)
    told = " ".join(facts.values()).split()
    assert platform.node() not in told
    assert getpass.getuser() not in told


def test_processor_without_cpuinfo_is_the_architecture(tmp_path):
    assert processor(tmp_path / "none") in (platform.processor(), platform.machine())


def test_processor_has_its_own_name(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Chip 9000 @ 3 GHz\nmodel name : Other\n")
    assert processor(cpuinfo) == "Chip 9000 @ 3 GHz"
    cpuinfo.write_text("Hardware : none\n")
    assert processor(cpuinfo) == platform.machine()
