"""Measures what exec("echo hi") costs with Python's subprocess, one after the
other. COUNT and figures as in exec.c:

    exec_python.py COUNT
"""
import resource
import subprocess
import sys


def run(n):
    for _ in range(n):
        done = subprocess.run("echo hi", shell=True, capture_output=True)
        assert done.returncode == 0 and done.stdout == b"hi\n"


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1e6


count = int(sys.argv[1])
run(count // 10 + 1)
begun = cpu()
run(count)
print("cpu_us_per_op %.3f" % ((cpu() - begun) / count))
