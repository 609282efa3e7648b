//! Files that are open when their program is captured.

mod guest;
#[path = "guest/moving.rs"]
mod moving;

use moving::python;

#[test]
fn what_proc_tells_is_of_the_tasks_that_are_there_now() {
    let program = "
import os, sys
maps, stat = open('/proc/self/maps'), open('/proc/self/stat')
fds = os.open('/proc/self/fd', os.O_RDONLY | os.O_DIRECTORY)
os.chdir('/proc/self/task')
snapshot = open('/proc/rekindle/snapshot')
print('ready', flush=True)
sys.stdin.read()
print('[stack]' in maps.read(), stat.read().split()[0], os.getcwd(), os.listdir('.'))
print(str(fds) in os.listdir(fds), snapshot.read().strip(), os.path.exists('/proc/self/maps'))
";
    assert_eq!(
        python(program, ""),
        "True 1 /proc/1/task ['1']\nTrue restored True\n"
    );
}

#[test]
fn a_removed_file_is_one_file_for_all_that_have_it_open() {
    let program = "
import mmap, os, sys
os.mkdir('/tmp/d')
w = os.open('/tmp/d/gone', os.O_RDWR | os.O_CREAT)
os.write(w, b'before')
r = os.open('/tmp/d/gone', os.O_RDONLY)
m = mmap.mmap(w, 6)
os.unlink('/tmp/d/gone')
print('ready', flush=True)
sys.stdin.read()
os.write(w, b' after'); m[0:1] = b'B'
print(os.read(r, 20), os.readlink(f'/proc/self/fd/{r}'), os.fstat(r).st_nlink)
";
    assert_eq!(
        python(program, ""),
        "b'Before after' /tmp/d/gone (deleted) 0\n"
    );
}

#[test]
fn a_file_that_every_sandbox_has_its_own_of_may_be_open() {
    let program = "
import os, sys
files = [open('/etc/' + name) for name in ('hosts', 'hostname', 'resolv.conf', 'passwd')]
device = os.stat('/tmp').st_dev
print('ready', flush=True)
sys.stdin.read()
print([len(f.read()) > 0 for f in files], os.stat('/tmp').st_dev == device)
";
    assert_eq!(python(program, ""), "[True, True, True, True] True\n");
}
