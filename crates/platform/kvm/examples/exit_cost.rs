//! What leaving the machine costs: system calls and first touches, medians of rounds, against the same call natively.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::time::{Duration, Instant};

use platform_api::{Backing, CpuState, Event, MapOp, Platform, Protection};
use platform_kvm::KvmPlatform;

const CODE: u64 = 0x10_0000;
/// `1: mov eax, 110; syscall; jmp 1b`
const LOOP: [u8; 9] = [0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
const CALLS: u32 = 2_000;
const ROUNDS: usize = 15;

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort();
    samples[samples.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let platform = KvmPlatform::new()?;
    println!(
        "platform start        {:>10.1} us",
        start.elapsed().as_secs_f64() * 1e6
    );
    let start = Instant::now();
    let space = platform.new_address_space()?;
    println!(
        "spare address space   {:>10.1} us",
        start.elapsed().as_secs_f64() * 1e6
    );
    let spaces: Vec<_> = (0..21)
        .map(|_| {
            let start = Instant::now();
            let space = platform.new_address_space();
            (start.elapsed(), space)
        })
        .collect();
    println!(
        "new address space     {:>10.1} us",
        median(spaces.iter().map(|s| s.0).collect()).as_secs_f64() * 1e6
    );
    drop(spaces);

    let code = |prot| MapOp::Map {
        addr: CODE,
        len: 0x1000,
        prot,
        backing: Backing::Anonymous,
    };
    space.apply(&[code(
        Protection::READ | Protection::WRITE | Protection::EXEC,
    )])?;
    assert_eq!(space.write(CODE, &LOOP), LOOP.len());
    let applies: Vec<_> = (0..501)
        .map(|_| {
            let start = Instant::now();
            let done = space.apply(&[MapOp::Map {
                addr: 0x20_0000,
                len: 0x1000,
                prot: Protection::READ,
                backing: Backing::Anonymous,
            }]);
            assert!(done.is_ok());
            start.elapsed()
        })
        .collect();
    println!(
        "apply one mapping     {:>10.1} us",
        median(applies).as_secs_f64() * 1e6
    );
    let forks: Vec<_> = (0..21)
        .map(|_| {
            let start = Instant::now();
            let child = space.fork();
            (start.elapsed(), child)
        })
        .collect();
    println!(
        "fork address space    {:>10.1} us",
        median(forks.iter().map(|s| s.0).collect()).as_secs_f64() * 1e6
    );
    drop(forks);

    let mut state = CpuState::default();
    state.regs.rip = CODE;
    drop(space.new_context(state.clone())?);
    let threads: Vec<_> = (0..21)
        .map(|_| {
            let start = Instant::now();
            let context = space.new_context(state.clone());
            (start.elapsed(), context)
        })
        .collect();
    println!(
        "new context           {:>10.1} us",
        median(threads.iter().map(|s| s.0).collect()).as_secs_f64() * 1e6
    );
    drop(threads);
    let mut context = space.new_context(state)?;
    let start = Instant::now();
    assert!(matches!(context.run(), Event::Syscall(_)));
    println!(
        "first run             {:>10.1} us",
        start.elapsed().as_secs_f64() * 1e6
    );
    let states: Vec<_> = (0..501)
        .map(|_| {
            let start = Instant::now();
            assert!(context.state().is_ok());
            let took = start.elapsed();
            context.set_return(0);
            assert!(matches!(context.run(), Event::Syscall(_)));
            took
        })
        .collect();
    println!(
        "state in a call       {:>10.1} us",
        median(states).as_secs_f64() * 1e6
    );

    let guest: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                context.set_return(1);
                assert!(matches!(context.run(), Event::Syscall(_)));
            }
            start.elapsed() / CALLS
        })
        .collect();
    let native: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                std::hint::black_box(std::os::unix::process::parent_id());
            }
            start.elapsed() / CALLS
        })
        .collect();
    let (guest, native) = (
        median(guest).as_secs_f64() * 1e6,
        median(native).as_secs_f64() * 1e6,
    );
    println!("native system call    {native:>10.3} us");
    println!(
        "guest system call     {guest:>10.3} us   ratio {:.1}",
        guest / native
    );
    let touches: Vec<_> = (0..ROUNDS).map(|_| touch(&*space, &mut *context)).collect();
    println!(
        "first touch of a page {:>10.3} us",
        median(touches).as_secs_f64() * 1e6
    );
    Ok(())
}

/// `1: mov [rdi], eax; add rdi, rdx; dec rsi; jnz 1b; syscall`
const TOUCH: [u8; 12] = [
    0x89, 0x07, 0x48, 0x01, 0xd7, 0x48, 0xff, 0xce, 0x75, 0xf6, 0x0f, 0x05,
];
const PAGES: u32 = 256;
/// Far enough apart that nothing around a page is made present with it.
const APART: u64 = 0x2_0000;
const AREA: u64 = 0x4000_0000;

fn touch(
    space: &dyn platform_api::AddressSpace,
    context: &mut dyn platform_api::Context,
) -> Duration {
    let all = Protection::READ | Protection::WRITE | Protection::EXEC;
    let map = |addr, len| MapOp::Map {
        addr,
        len,
        prot: all,
        backing: Backing::Anonymous,
    };
    let code = CODE + 0x10_0000;
    let done = space.apply(&[map(AREA, u64::from(PAGES) * APART), map(code, 0x1000)]);
    assert!(done.is_ok());
    assert_eq!(space.write(code, &TOUCH), TOUCH.len());
    let run = |context: &mut dyn platform_api::Context, pages: u32| {
        if let Ok(state) = context.state_mut() {
            (state.regs.rip, state.regs.rdi, state.regs.rax) = (code, AREA, 39);
            (state.regs.rsi, state.regs.rdx) = (u64::from(pages), APART);
        }
        let start = Instant::now();
        let event = context.run();
        assert!(matches!(event, Event::Syscall(_)), "{event:x?}");
        start.elapsed()
    };
    let one = run(context, 1);
    run(context, PAGES).saturating_sub(one) / (PAGES - 1)
}
