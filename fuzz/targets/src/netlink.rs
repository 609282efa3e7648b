//! A guest's requests on a route netlink socket: answers are whole messages, and nothing of them stays when the socket is closed.

use kernel_net::{Caller, MsgFlags, NetStack, Outgoing, StackConfig};

const AF_NETLINK: u32 = 16;
const SOCK_RAW: u32 = 3;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

pub(crate) fn run(bytes: &[u8]) {
    let stack = NetStack::new(StackConfig::default());
    let caller = Caller::kernel();
    let socket = stack.socket(&caller, AF_NETLINK, SOCK_RAW, 0);
    let socket = socket.expect("a route socket");
    let _ = socket.send(&caller, Outgoing::bytes(bytes));
    let mut buffer = vec![0; 64 << 10];
    while let Ok(answer) = socket.recv(&mut buffer, MsgFlags::TRUNC) {
        assert!(answer.length <= buffer.len());
        whole(&buffer[..answer.copied]);
    }
    socket.close();
    drop(socket);
    assert_eq!(stack.buffered_bytes(), 0);
}

/// Each message of an answer says how long it is, and none is longer than what is there.
fn whole(mut answer: &[u8]) {
    while !answer.is_empty() {
        let length = answer.first_chunk::<4>().expect("a header");
        let length = u32::from_ne_bytes(*length) as usize;
        assert!((HEADER..=answer.len()).contains(&length), "{length}");
        // NLMSG_ALIGN.
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}
