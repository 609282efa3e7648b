#!/usr/bin/env bash
# Tests the KVM platform on AMD's virtualisation as QEMU emulates it: needs no /dev/kvm here. Boots Debian's cloud kernel with a
# few files of this machine, loads kvm-amd, and runs the platform's tests and a Python program in guests of it; with the argument
# `kernel` the kernel's guest tests instead, but for those that need more of a file tree. Names of test programs after
# that are run alone, without the Python program: `tests/kvm-hw.sh kernel ends snapshot`.
# Fails when a test fails, was skipped or did not run, and when the machine does not end in time.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/kvm-hw
# Seconds for everything in the machine.
plan=${1:-platform}
shift $(($# > 0))
case $plan in
platform) limit=${KVM_HW_SECONDS:-900} ;;
kernel) limit=${KVM_HW_SECONDS:-3600} ;;
*)
    echo "usage: $0 [platform|kernel] [test program]..." >&2
    exit 2
    ;;
esac
# Test programs that are asked for; none means all.
chosen=("$@")

. "$root/tests/need.sh"
need "command -v qemu-system-x86_64" qemu-system-x86
need "command -v cpio" cpio
need "test -x /usr/bin/python3" python3

# Packages that are only looked into. They stay until the archive has others.
packages=$work/packages
mkdir -p "$packages"
unpack() {
    local into=$packages/$1
    [ -e "$into/.whole" ] && return
    rm -rf "$into"
    mkdir -p "$into/deb"
    (cd "$into/deb" && apt-get -qq -o APT::Sandbox::User=root download "$1" >&2) &&
        dpkg -x "$into"/deb/*.deb "$into" && rm -r "$into/deb" && touch "$into/.whole"
}
kernel=
fetch() {
    kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
    [ -n "$kernel" ] && unpack "$kernel" && unpack busybox-static
}
fetch || { apt-get update -q >&2 && fetch; } || {
    echo "FAILED: cannot get linux-image-cloud-amd64 and busybox-static from Debian's archive, which the emulated machine is made of" >&2
    exit 1
}
kernel=$packages/$kernel

# What `make test` builds, just as there: asked for a package alone, cargo would build what it shares with others again.
cd "$root"
cargo test -q --workspace --no-run --message-format=json-render-diagnostics >"$work/built"
# Names and paths of the programs of the package in the directory $1: `rekindle` itself, and its tests'.
programs() {
    python3 - "$root/$1/Cargo.toml" "$work/built" <<'END'
import json, sys
for line in open(sys.argv[2]):
    message = json.loads(line) if line.startswith("{") else {}
    if message.get("executable") and message["manifest_path"] == sys.argv[1]:
        target = message["target"]
        kind = "unit" if "lib" in target["kind"] else target["name"]
        if message["profile"]["test"] or "bin" in target["kind"]:
            print("test" if message["profile"]["test"] else "bin", kind, message["executable"])
END
}

# The file tree of the machine.
tree=$work/tree
rm -rf "$tree" "$work/boot"
mkdir -p "$tree"/{proc,sys,dev,tmp,root,modules,tests,etc,usr/bin,usr/sbin,usr/lib,usr/lib64}
for directory in bin sbin lib lib64; do
    ln -s "usr/$directory" "$tree/$directory"
done
busybox=$packages/busybox-static/bin/busybox
cp "$busybox" "$tree/bin/"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
done
find "$kernel/lib/modules" \( -name irqbypass.ko -o -name kvm.ko -o -name kvm-amd.ko \) -exec cp -t "$tree/modules" {} +
cp tests/kvm-hw/init "$tree/init"
# Debugging information stays behind, as does what a program needs that is not here.
add() {
    mkdir -p "$tree/$(dirname "$2")"
    strip -o "$tree/$2" "$1"
    chmod 755 "$tree/$2"
}
libraries() {
    { ldd "$@" 2>/dev/null | grep -o '/[^ :]*\.so[^ :]*' || true; } | sort -u | while read -r library; do
        local place=${library#/}
        case $place in usr/*) ;; *) place=usr/$place ;; esac
        [ -e "$tree/$place" ] && continue
        mkdir -p "$tree/$(dirname "$place")"
        cp -L "$library" "$tree/$place"
    done
}
python=$(readlink -f /usr/bin/python3)
version=${python##*/}
add "$python" "usr/bin/$version"
ln -s "$version" "$tree/usr/bin/python3"
tar -C / -c --exclude=test --exclude=ensurepip --exclude=idlelib --exclude=lib2to3 --exclude=pydoc_data \
    --exclude='config-*' "usr/lib/$version" | tar -C "$tree" -x
libraries "$python" "/usr/lib/$version"/lib-dynload/*.so
if [ ${#chosen[@]} = 0 ]; then
    rekindle=$(programs crates/bin/rekindle | sed -n 's/^bin rekindle //p')
    add "$rekindle" usr/bin/rekindle
    libraries "$rekindle"
fi

# What runs, and what has to be said about it.
expected=$work/expected
: >"$tree/plan"
: >"$expected"
plan_tests() {
    local package=$1 seconds=$2 kind program path name count
    shift 2
    programs "crates/${package/-//}" >"$work/programs"
    while read -r kind program path; do
        name=$package/$program
        [ "$kind" = test ] && [ "$program" != "${without:-}" ] || continue
        [ ${#chosen[@]} = 0 ] || [[ " ${chosen[*]} " == *" $program "* ]] || continue
        count=$("$path" --list "$@" 2>/dev/null | grep -c ': test$') || true
        count=$((count - $("$path" --list --ignored "$@" 2>/dev/null | grep -c ': test$' || true)))
        [ "$count" -gt 0 ] || continue
        add "$path" "tests/$name"
        libraries "$path"
        echo "$name $seconds RUST_BACKTRACE=1 GUEST_PLATFORM=kvm GUEST_PATIENCE=$((seconds / 2)) /tests/$name --nocapture --test-threads=2 $*" >>"$tree/plan"
        echo "tests $name $count" >>"$expected"
    done <"$work/programs"
}
if [ "$plan" = kernel ]; then
    # Programs as tests know them, and files that they look at.
    for tool in $(dpkg -L coreutils grep sed dash findutils | grep -E '^(/usr)?/s?bin/[^/]+$'); do
        [ -x "$tool" ] || continue
        place=${tool#/}
        case $place in usr/*) ;; *) place=usr/$place ;; esac
        rm -f "$tree/$place"
        cp -P "$tool" "$tree/$place"
        libraries "$tool"
    done
    mkdir -p "$tree$root/guests"
    cp -r guests/programs "$tree$root/guests/"
    # Left out: Node.js, the pages of the documentation, and programs that are captured at every call, which takes hours here.
    without=every_call
    plan_tests kernel-syscall 1200 --skip node_goes_on --skip the_page_is_current
else
    plan_tests platform-kvm 300
fi
hello=
if [ ${#chosen[@]} = 0 ]; then
    echo "python 120 rekindle run --platform kvm --timeout 110s -- python3 -c 'print(\"answer:\", sum(range(10)))'" >>"$tree/plan"
    echo "answer python 45" >>"$expected"
    hello=", and a Python program"
fi

mkdir -p "$work/boot/bin"
cp "$busybox" "$work/boot/bin/"
cp tests/kvm-hw/init "$work/boot/init"
chmod +x "$work/boot/init" "$tree/init"
tar -C "$tree" -cf "$work/boot/tree.tar" .
(cd "$work/boot" && find . | cpio -o -H newc --quiet) >"$work/initramfs"

console=$work/console
echo "booting $(basename "$kernel") with $(du -m "$work/initramfs" | cut -f1) MiB of files: $console" >&2
began=$SECONDS
said=$work/said
: >"$said"
ended=0
# One processor: with two, vCPUs are reset or stand still at times where many threads share them (docs/isolation.md).
# rcu_expedited: before Linux 6.13 a vCPU that moves to another thread waits for a grace period, which the tests with fewer vCPUs
# than threads do thousands of times. no_timer_check: on a busy host the timer that Linux tries at its start comes too late, and it panics.
timeout "$limit" qemu-system-x86_64 -M q35 -accel tcg -cpu max,+svm -smp 1 -m 3G \
    -nodefaults -display none -no-reboot -serial "file:$console" -serial "file:$said" \
    -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/initramfs" \
    -append "console=ttyS0 quiet panic=-1 rcupdate.rcu_expedited=1 no_timer_check" </dev/null || ended=$?

# The judgement, from what the first process said on its own line.
failures=0
fail() {
    echo "FAILED: $*" >&2
    failures=$((failures + 1))
}
[ "$ended" = 0 ] || fail "the machine ended with $ended (124: not in $limit s)"
grep -qx finished "$said" || fail "the plan was not finished: $(tail -1 "$said")"
grep -qx 'feature svm' "$said" || fail "no AMD-V in the machine"
while read -r line; do
    fail "$line"
done < <(grep '^skipped ' "$said")
passed=0
while read -r what name value; do
    grep -qE "^status $name 0 " "$said" || fail "$name: $(grep "^status $name " "$said" || echo "did not end")"
    case $what in
    tests)
        if grep -q "^tests $name test result: ok. $value passed; 0 failed;" "$said"; then
            passed=$((passed + value))
        else
            fail "$name: not $value tests passed: $(grep "^tests $name " "$said")"
        fi
        ;;
    answer) grep -qx "answer $name $value" "$said" || fail "$name: the answer is not $value" ;;
    esac
done <"$expected"
grep -E '^(kernel|feature|status) ' "$said" >&2
[ "$passed" -gt 0 ] || fail "no test ran"
if [ "$failures" != 0 ]; then
    echo "FAILED: $failures of the above; what the machine said is in $console, and ends so:" >&2
    tail -n 1000 "$console" >&2
    exit 1
fi
echo "passed on emulated AMD-V in $((SECONDS - began)) s: $passed tests in $(grep -c '^tests ' "$expected") programs$hello" >&2
