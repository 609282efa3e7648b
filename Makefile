# The commands of this project. `make demo` and `make test` do all the set-up they need.
.PHONY: test-snapshot-everywhere demo test test-kvm test-kvm-hw test-kvm-hw-kernel test-programs test-storm bench bench-against bench-snapshots lint docs fuzz test-cpython test-bad-input show-confinement

# The runner of choice, and the one that every toolchain has. Programs of the whole workspace are chosen from, as others have fewer features
# of their dependencies, and would be built a second time.
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)

# Tests with `on_kvm` in their names need a /dev/kvm; elsewhere they are counted as skipped. `make test KVM=` does as if there were none.
KVM := $(wildcard /dev/kvm)

test:
ifeq ($(NEXTEST),yes)
	cargo nextest run --workspace $(if $(KVM),,-E 'not test(on_kvm)') --status-level fail --final-status-level fail
else
	cargo test --workspace $(if $(KVM),,-- --skip on_kvm)
endif
	@$(if $(KVM),:,echo 'There is no /dev/kvm: the tests that need it (on_kvm) were skipped.')

# The kernel's guest tests on the KVM platform; `make test` has the platform's own.
test-kvm:
ifeq ($(NEXTEST),yes)
	GUEST_PLATFORM=kvm cargo nextest run --workspace -E 'package(kernel-syscall)' --status-level fail --final-status-level fail
else
	GUEST_PLATFORM=kvm cargo test -p kernel-syscall
endif

# The platform's tests and a Python program on AMD's virtualisation, which QEMU emulates: needs no /dev/kvm.
test-kvm-hw:
	tests/kvm-hw.sh

# The kernel's guest tests there.
test-kvm-hw-kernel:
	tests/kvm-hw.sh kernel

# Real programs, natively against a sandbox: make test-programs PLATFORM=kvm
test-programs:
ifeq ($(NEXTEST),yes)
	GUEST_PLATFORM=$(PLATFORM) cargo nextest run --workspace -E 'package(rekindle) & binary(programs)' --status-level fail --final-status-level fail
else
	GUEST_PLATFORM=$(PLATFORM) cargo test -p rekindle --test programs
endif

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --lib --bins --exclude platform-conformance -- -D warnings \
		-D clippy::unwrap_used -D clippy::panic -D clippy::unreachable
	@if grep -rlE '\bunsafe *(\{|fn|impl)' crates --include='*.rs' | grep -vE '^crates/(host|platform)/'; then \
		echo 'unsafe outside crates/host and crates/platform'; exit 1; fi
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; \
		else echo 'cargo-deny is not installed: licences not checked'; fi
	python3 -B tools/code/lint.py
	python3 -B -m unittest discover -q -s tools/code

# PLATFORM=process|kvm|auto for the demonstration and the benchmarks.
PLATFORM ?= process
demo bench bench-snapshots: export REKINDLE_PLATFORM = $(PLATFORM)

demo:
	cargo build --release -p rekindle
	target/release/rekindle demo

bench:
	cargo build --release -p rekindle -p bench
	timeout 120 target/release/rekindle bench syscall
	timeout 120 target/release/rekindle bench start
	timeout 120 target/release/rekindle bench invoke
	timeout 240 target/release/rekindle bench cold-start --rounds 10 --instances 8 --within 3m
	timeout 120 target/release/rekindle bench restore-rate --rounds 5
	timeout 240 target/release/rekindle bench density --instances 100 --within 3m

# One benchmark of an older build and this one in turn, as ratios: make bench-against OLD=../old/target/release/rekindle NAME=cold-start
ROUNDS ?= 20
bench-against:
	cargo build --release -p rekindle -p bench
	bench/against.py $(OLD) target/release/rekindle $(NAME) --rounds $(ROUNDS) -- --rounds 5 --instances 8

# What snapshots are good for, in full: half an hour. Installs boto3, express and Numba for it.
bench-snapshots:
	cargo build --release -p rekindle -p bench
	bench/setup.sh
	timeout 1200 target/release/rekindle bench cold-start
	timeout 300 target/release/rekindle bench restore-rate
	timeout 1200 target/release/rekindle bench density
	timeout 600 target/release/rekindle bench post-jit
	timeout 1200 target/release/rekindle bench uniqueness

docs:
	UPDATE_DOCS=1 cargo test -q -p kernel-syscall --test compat_page
	UPDATE_DOCS=1 cargo test -q -p proto-lambda --test support_page
	UPDATE_DOCS=1 cargo test -q -p rekindle --bin rekindle the_page_tells_of_every_metric

# Random system calls from a seed of its own: make fuzz SEED=1 SECONDS=600
SEED ?= $(shell date +%s)
SECONDS ?= 60
fuzz:
	FUZZ_SEED=$(SEED) FUZZ_SECONDS=$(SECONDS) cargo test -p rekindle --test system_calls -- --nocapture

# One of the readers of bytes from outside (fuzz/targets/src) with coverage, on a nightly toolchain with cargo-fuzz; `make test` gives each of them
# mutations of fuzz/seeds from a seed for two seconds: make fuzz-targets NAME=elf SECONDS=600
NAME ?= elf
.PHONY: fuzz-targets
fuzz-targets:
	mkdir -p fuzz/corpus/$(NAME)
	cargo +nightly fuzz run $(NAME) fuzz/corpus/$(NAME) fuzz/seeds/$(NAME) -- -max_total_time=$(SECONDS)

# CPython's own tests, natively against a sandbox, case by case: make test-cpython PLATFORM=kvm MODULES="test_os test_io"
test-cpython:
	cargo build --release -p rekindle
	tests/cpython.sh
	python3 guests/cpython/compare.py --rekindle target/release/rekindle --platform $(PLATFORM) $(MODULES)

# Programs that are captured at every system call and go on in a fresh kernel each time, and ten modules of CPython's tests
# at random ones. Prints the moves, and why captures were refused.
test-snapshot-everywhere:
	cargo test -q -p kernel-syscall --test every_call -- --ignored --nocapture
	cargo build -q -p kernel-syscall --example moving
	tests/cpython.sh
	python3 guests/cpython/moved.py --moving target/debug/examples/moving

# The list of bad input, from code and from clients, against real servers and sandboxes.
test-bad-input:
	cargo build -q -p rekindle
	cargo test -p rekindle --test bad_input
	cargo test -p platform-process --test attacks

# Hostile guests with 32 threads, in machines and in whole sandboxes, beside neighbours: make test-storm SECONDS=600
test-storm:
	STORM_SECONDS=$(SECONDS) cargo test -p platform-kvm --test attacks -- --nocapture storm
	STORM_SECONDS=$(SECONDS) cargo test -p rekindle --test storm -- --nocapture --test-threads=1

# Every system call that the host carries out for guests' threads, and whose code made it.
show-confinement:
	cargo build --release -p rekindle
	tests/perf.sh
	python3 tests/confinement.py target/release/rekindle demo

# Writes what went down into tools/code/ratchet.toml, which `make lint` compares with.
.PHONY: ratchet
ratchet:
	@python3 -B tools/code/lint.py --lower

# The figures of the code: sizes, module circles, names, what is documented. make measure-code ARGS="--circles --long"
# ARGS="--commit HEAD~10 -o json" and the others of tools/code/measure.py.
.PHONY: measure-code
measure-code:
	@python3 -B tools/code/measure.py $(ARGS)
