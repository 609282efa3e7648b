//! Memory of scripted guests behaves as memory.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base_abi::Errno;
use platform_api::{AddressSpace, Backing, Event, MapOp, Platform, Protection, Sharing};
use platform_script::{Script, ScriptPlatform};

const AT: u64 = 0x10_0000;
const PAGE: u64 = 4096;
const RW: Protection = Protection::READ.union(Protection::WRITE);

fn space() -> Arc<dyn AddressSpace> {
    ScriptPlatform::new()
        .new_address_space()
        .expect("always possible")
}

fn map(addr: u64, len: u64, prot: Protection, backing: Backing) -> MapOp {
    MapOp::Map {
        addr,
        len,
        prot,
        backing,
    }
}

fn file(contents: &[u8], sharing: Sharing) -> (Arc<std::fs::File>, Backing) {
    let file = tempfile::tempfile().expect("a temporary file");
    file.write_all_at(contents, 0).expect("it can be written");
    let file = Arc::new(file);
    (
        file.clone(),
        Backing::File {
            file,
            offset: 0,
            sharing,
        },
    )
}

fn byte(space: &dyn AddressSpace, addr: u64) -> Option<u8> {
    let mut buf = [0];
    (space.read(addr, &mut buf) == 1).then_some(buf[0])
}

#[test]
fn copies_stop_where_access_ends() {
    let space = space();
    let holes = [
        map(AT, 3 * PAGE, RW, Backing::Anonymous),
        MapOp::Protect {
            addr: AT + PAGE,
            len: PAGE,
            prot: Protection::READ,
        },
    ];
    assert_eq!(space.apply(&holes), Ok(()));
    assert_eq!(space.write(AT + 1, &[7; 3 * 4096]), 4095);
    assert_eq!(space.read(AT, &mut [0; 5 * 4096]), 3 * 4096);
    assert_eq!(space.read(AT + 3 * PAGE, &mut [0; 1]), 0);
    assert_eq!(
        (byte(&*space, AT), byte(&*space, AT + 1)),
        (Some(0), Some(7))
    );
    assert_eq!(space.read(u64::MAX, &mut [0; 2]), 0);
}

#[test]
fn files_private_and_shared() {
    let space = space();
    let (private_file, private) = file(&[1; 4096], Sharing::Private);
    let (shared_file, shared) = file(&[2; 100], Sharing::Shared);
    assert_eq!(
        space.apply(&[
            map(AT, PAGE, RW, private),
            map(AT + PAGE, 2 * PAGE, RW, shared)
        ]),
        Ok(())
    );
    assert_eq!(space.write(AT + 4095, &[9, 9]), 2);
    let at = |file: &std::fs::File, offset| {
        let mut buf = [0];
        file.read_exact_at(&mut buf, offset).map(|()| buf[0]).ok()
    };
    assert_eq!(
        (at(&private_file, 4095), at(&shared_file, 0)),
        (Some(1), Some(9))
    );
    assert_eq!(byte(&*space, AT + PAGE + 200), Some(0));
    assert_eq!(byte(&*space, AT + 2 * PAGE), None);
    assert_eq!(
        space.apply(&[MapOp::Discard {
            addr: AT,
            len: PAGE
        }]),
        Ok(())
    );
    assert_eq!(byte(&*space, AT + 4095), Some(1));
}

#[test]
fn moves_and_forks() {
    let space = space();
    assert_eq!(
        space.apply(&[map(AT, 2 * PAGE, RW, Backing::Anonymous)]),
        Ok(())
    );
    assert_eq!(space.write(AT, &[1]) + space.write(AT + PAGE, &[2]), 2);
    let child = space.fork().expect("always possible");
    let to = AT + 16 * PAGE;
    assert_eq!(
        space.apply(&[MapOp::Move {
            from: AT,
            old_len: 2 * PAGE,
            to,
            new_len: 4 * PAGE
        }]),
        Ok(())
    );
    assert_eq!(
        (
            byte(&*space, AT),
            byte(&*space, to + PAGE),
            byte(&*space, to + 3 * PAGE)
        ),
        (None, Some(2), Some(0))
    );
    assert_eq!(
        (byte(&*child, AT + PAGE), byte(&*child, to)),
        (Some(2), None)
    );
    let gap = MapOp::Protect {
        addr: AT,
        len: PAGE,
        prot: RW,
    };
    assert_eq!(
        space.apply(&[gap]).map_err(|e| (e.index, e.errno)),
        Err((0, Errno::ENOMEM))
    );
    assert_eq!(space.compare_exchange_u32(to, 1, 5), Ok(1));
    assert_eq!(space.compare_exchange_u32(AT, 1, 5), Err(Errno::EFAULT));
    assert_eq!(byte(&*space, to), Some(5));
}

#[test]
fn scripts_see_what_calls_returned() {
    let platform = ScriptPlatform::new();
    platform.next_guest(Script::steps(|state| match state.regs.rax as i64 {
        0 => Some(Event::Syscall(Script::call(2, &[10]))),
        fd if fd > 0 => Some(Event::Syscall(Script::call(3, &[fd as u64]))),
        _ => None,
    }));
    let space = platform.new_address_space().expect("always possible");
    let mut context = space
        .new_context(platform_api::CpuState::default())
        .expect("always possible");
    let interrupt = context.interrupter();
    interrupt.interrupt();
    assert_eq!(context.run(), Event::Interrupted);
    assert!(matches!(context.run(), Event::Syscall(call) if call.nr == 2));
    context.set_return(7);
    assert!(matches!(context.run(), Event::Syscall(call) if call.nr == 3 && call.args[0] == 7));
    assert_eq!(context.run(), Event::Gone);
    assert_eq!(platform.returned(), [7, -38]);
    drop(space);
    assert_eq!(context.run(), Event::Gone);
}
