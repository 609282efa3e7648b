"""subprocess: pipelines, input and output of a size, environment, directories, groups, signals, limits."""
import os, resource, signal, subprocess, sys

run = lambda *command, **how: subprocess.run(command, capture_output=True, text=True, **how)
print(run("sort", "-n", input="10\n9\n100\n").stdout.split())
big = "x" * 3_000_000
print(len(run("cat", input=big).stdout), run("sh", "-c", "echo out; echo err >&2; exit 7"))
first = subprocess.Popen(["seq", "1000"], stdout=subprocess.PIPE)
second = subprocess.Popen(["grep", "7"], stdin=first.stdout, stdout=subprocess.PIPE)
third = subprocess.Popen(["wc", "-l"], stdin=second.stdout, stdout=subprocess.PIPE)
first.stdout.close()
second.stdout.close()
print(third.communicate()[0].strip(), first.wait(), second.wait())
print(run("env", env={"ONLY": "this"}).stdout, run("pwd", cwd="/usr").stdout)
try:
    run("/nowhere/program")
except FileNotFoundError as error:
    print(error)
try:
    run("sleep", "60", timeout=0.05)
except subprocess.TimeoutExpired:
    print("timed out")
group = subprocess.Popen(["sh", "-c", "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.01; done"],
                         stdout=subprocess.PIPE, text=True, start_new_session=True)
print(group.stdout.readline().strip(), os.getsid(group.pid) == group.pid)
group.terminate()
print(group.stdout.read().strip(), group.wait())
limited = run("sh", "-c", "ulimit -n", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
print(limited.stdout.strip())
killed = subprocess.Popen(["sleep", "60"])
killed.send_signal(signal.SIGKILL)
print(killed.wait())
r, w = os.pipe()
print(run("sh", "-c", f"echo through >&{w}", pass_fds=[w]).returncode, os.read(r, 100))
for _ in range(100):
    assert subprocess.call(["true"]) == 0
sys.exit(8)
