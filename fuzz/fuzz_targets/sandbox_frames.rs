//! A sandbox's bytes on its way to the node: no panic, whatever it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto_sandbox::{Decoder, FromSandbox};

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::default();
    for part in data.chunks(7) {
        decoder.push(part);
        loop {
            match decoder.next_message::<FromSandbox>() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
