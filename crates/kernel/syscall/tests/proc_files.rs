//! `/proc` and `/sys` as the machine's own tools read them in a sandbox.

mod guest;

fn shell(script: &str) -> String {
    guest::run(&["/bin/sh", "-c", script], "").expect_success()
}

#[test]
fn a_process_sees_itself() {
    let text = shell("cat /proc/self/status");
    assert!(text.starts_with("Name:\tcat\n"), "{text}");
    assert!(text.contains("\nState:\tR (running)\n"), "{text}");
    assert!(text.contains("\nThreads:\t1\n"), "{text}");
    let text = shell(
        "cat /proc/self/cmdline; grep -c PATH=/usr/bin /proc/self/environ; readlink /proc/self/exe /proc/self/cwd",
    );
    assert!(
        text.starts_with("cat\0/proc/self/cmdline\x001\n"),
        "{text:?}"
    );
    assert!(text.contains("readlink\n/tmp\n"), "{text}");
    let stat = shell("cat /proc/self/stat");
    assert_eq!(
        stat.trim().rsplit(") ").next().unwrap().split(' ').count(),
        50,
        "{stat}"
    );
}

#[test]
fn descriptors_are_links_to_what_is_open() {
    let text = shell(
        "cd /proc/self/fd; exec 7</etc/hosts; readlink 0; readlink /proc/$$/fd/7; head -1 /proc/$$/fd/7; cat /proc/$$/fdinfo/7",
    );
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("pipe:[1]"));
    assert_eq!(lines.next(), Some("/etc/hosts"));
    assert_eq!(lines.next(), Some("127.0.0.1\tlocalhost"));
    assert_eq!(lines.next(), Some("pos:\t0"), "{text}");
}

#[test]
fn others_are_listed_and_their_threads_too() {
    let text = shell(
        "sleep 60 & cat /proc/$!/comm; ls /proc/$!/task | wc -l; kill $!; wait $!; ls -d /proc/[0-9]*",
    );
    assert!(text.starts_with("s"), "{text}");
    assert!(text.contains("\n1\n/proc/1\n"), "{text}");
}

#[test]
fn the_machine_is_described() {
    let text = shell(
        "grep -c ^processor /proc/cpuinfo; grep MemTotal /proc/meminfo; cat /sys/devices/system/cpu/online /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /proc/sys/kernel/hostname /proc/sys/fs/pipe-max-size; cat /sys/kernel/mm/transparent_hugepage/enabled",
    );
    assert_eq!(
        text,
        "2\nMemTotal:         524288 kB\n0-1\n536870912\n200000 100000\nsandbox\n1048576\nalways [madvise] never\n"
    );
}

#[test]
fn mounts_and_random_numbers_are_told() {
    let text =
        shell("grep -c cgroup2 /proc/self/mountinfo; cut -d' ' -f2 /proc/mounts | tr '\\n' ' '");
    assert_eq!(text, "1\n/ /dev /proc /sys /sys/fs/cgroup /dev/pts ");
    let text = shell("cd /proc/sys/kernel/random; cat uuid uuid boot_id boot_id");
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines
            .iter()
            .all(|l| l.len() == 36 && l.as_bytes()[14] == b'4'),
        "{text}"
    );
    assert!(lines[0] != lines[1] && lines[2] == lines[3], "{text}");
}

#[test]
fn a_name_can_be_written_and_the_rest_not() {
    let text = shell(
        "echo renamed > /proc/$$/comm; cat /proc/$$/comm; echo 5 > /proc/self/oom_score_adj && cat /proc/$$/oom_score_adj; echo x 2>/dev/null > /proc/self/status || echo refused",
    );
    assert_eq!(text, "renamed\n5\nrefused\n");
}

#[test]
fn who_asks_for_a_snapshot_where_none_are_taken_is_told() {
    let text = shell(
        "cat /proc/rekindle/snapshot; stat -c %a /proc/rekindle/snapshot; (echo now | tee /proc/rekindle/snapshot) 2>&1 || echo failed",
    );
    assert!(text.starts_with("none\n666\n"), "{text}");
    assert!(
        text.contains("Operation not supported") && text.ends_with("failed\n"),
        "{text}"
    );
}
