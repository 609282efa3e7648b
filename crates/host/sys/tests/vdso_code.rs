//! The guest clock code, run natively against a data page of our own.

use host_sys::clock::{HostClock, now, time_stamp_counter};
use host_sys::vdso_code::{self, DATA_DISTANCE};

const PAGE: usize = 4096;

#[repr(C)]
struct Timespec {
    sec: i64,
    nsec: i64,
}

/// A data page with the code behind it, as guests have them.
struct Mapped(*mut u8);

impl Mapped {
    fn new() -> Mapped {
        let prot = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: needed for executable memory; a fresh mapping disturbs nothing.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), 2 * PAGE, prot, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        let at = at.cast::<u8>();
        let code = vdso_code::bytes();
        assert!(code.len() <= 2 * PAGE - DATA_DISTANCE);
        // SAFETY: needed to fill the mapping; the code fits behind the distance, as just checked.
        unsafe {
            at.add(DATA_DISTANCE)
                .copy_from_nonoverlapping(code.as_ptr(), code.len())
        };
        Mapped(at)
    }

    fn store(&self, word: usize, value: u64) {
        // SAFETY: needed to write the data page; tests pass indexes below 28.
        unsafe { self.0.cast::<u64>().add(word).write_volatile(value) };
    }

    fn function(&self, name: &str) -> *const u8 {
        let function = vdso_code::functions().into_iter().find(|f| f.name == name);
        let offset = DATA_DISTANCE + function.expect("known").offset;
        // SAFETY: needed for pointer arithmetic; the offset lies in the mapping.
        unsafe { self.0.add(offset) }
    }

    fn clock_gettime(&self, clock: i32) -> (i64, u64) {
        // SAFETY: needed to call assembled code; it follows the C convention with these types.
        let call: extern "C" fn(i32, *mut Timespec) -> i64 =
            unsafe { std::mem::transmute(self.function("clock_gettime")) };
        let mut ts = Timespec { sec: -1, nsec: -1 };
        let ret = call(clock, &raw mut ts);
        (
            ret,
            (ts.sec as u64)
                .wrapping_mul(1_000_000_000)
                .wrapping_add(ts.nsec as u64),
        )
    }
}

#[test]
fn without_a_usable_counter_every_call_is_a_system_call() {
    let vdso = Mapped::new();
    let before = now(HostClock::Monotonic).as_nanos() as u64;
    let (ret, time) = vdso.clock_gettime(libc::CLOCK_MONOTONIC);
    assert_eq!(ret, 0);
    assert!(time >= before && time - before < 1_000_000_000);
    let (ret, _) = vdso.clock_gettime(77);
    assert_eq!(ret, i64::from(-libc::EINVAL));
    let (ret, cpu) = vdso.clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID);
    assert!(ret == 0 && cpu > 0);
}

#[test]
fn the_counter_gives_the_line_on_the_page() {
    let vdso = Mapped::new();
    // Two ticks a nanosecond, base at the counter now, base time 5 s; real time 1000 s ahead.
    vdso.store(2, time_stamp_counter());
    vdso.store(3, 1 << 31);
    vdso.store(4, 5_000_000_000);
    for clock in 0..12 {
        vdso.store(16 + clock, 0);
    }
    vdso.store(16, 1_000_000_000_000);
    vdso.store(1, 1);
    let mut last = 5_000_000_000;
    for _ in 0..10_000 {
        let (ret, time) = vdso.clock_gettime(libc::CLOCK_MONOTONIC);
        assert!(ret == 0 && time >= last && time < 60_000_000_000);
        last = time;
    }
    let (_, real) = vdso.clock_gettime(libc::CLOCK_REALTIME);
    assert!(real - last >= 1_000_000_000_000 && real - last < 1_001_000_000_000);

    // SAFETY: needed to call assembled code; it follows the C convention with these types.
    let day: extern "C" fn(*mut [i64; 2], *mut [i32; 2]) -> i64 =
        unsafe { std::mem::transmute(vdso.function("gettimeofday")) };
    let (mut tv, mut tz) = ([0; 2], [7; 2]);
    assert_eq!(day(&raw mut tv, &raw mut tz), 0);
    assert_eq!(tz, [0, 0]);
    assert!((1005..1060).contains(&tv[0]) && (0..1_000_000).contains(&tv[1]));
    // SAFETY: as above.
    let time: extern "C" fn(*mut i64) -> i64 =
        unsafe { std::mem::transmute(vdso.function("time")) };
    let mut out = 0;
    let answer = time(&raw mut out);
    assert!(answer == out && (1005..1060).contains(&answer));
}

#[test]
fn a_counter_behind_the_base_reads_as_the_base() {
    let vdso = Mapped::new();
    vdso.store(2, u64::MAX);
    vdso.store(3, 1 << 31);
    vdso.store(4, 42);
    vdso.store(1, 1);
    assert_eq!(vdso.clock_gettime(libc::CLOCK_MONOTONIC), (0, 42));
}
