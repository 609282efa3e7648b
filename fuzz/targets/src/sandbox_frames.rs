//! A sandbox's bytes on its way to the node: no panic, whatever it says.

use proto_sandbox::{Decoder, FromSandbox};

pub(crate) fn run(bytes: &[u8]) {
    let mut decoder = Decoder::default();
    for part in bytes.chunks(7) {
        decoder.push(part);
        loop {
            match decoder.next_message::<FromSandbox>() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}
