//! A snapshot's file: its header, and its sections as the kernel, the memory and the Runtime API read them. It is authentic
//! where it comes from a store, and nothing in it is believed all the same.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;

use kernel_mm::SavedMemory;
use kernel_net::{NetStack, StackConfig};
use kernel_syscall::snapshot::SavedKernel;
use sandbox_api::ApiServer;
use sandbox_runtime::RuntimeLimits;

const LIMITS: RuntimeLimits = RuntimeLimits {
    connections: 3,
    head_bytes: 1024,
    body_bytes: 256,
    streamed_bytes: 512,
    window_bytes: 64,
    discard_bytes: 1024,
    pipelined_bytes: 512,
};

/// A file that holds these bytes and has no name.
pub(crate) fn file_of(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(bytes, 0).expect("written");
    file
}

pub(crate) fn run(bytes: &[u8]) {
    match sandbox_snapshot::read(&file_of(bytes)) {
        Ok(sections) => {
            kernel(&sections.kernel);
            memory(&sections.memory);
            runtime_api(&sections.runtime_api);
        }
        // Without a header it is taken for each section in turn, which mutations reach more often so.
        Err(_) => {
            kernel(bytes);
            memory(bytes);
            runtime_api(bytes);
        }
    }
}

fn kernel(bytes: &[u8]) {
    if let Ok(saved) = SavedKernel::parse(bytes) {
        let _ = saved.monotonic();
        assert!(saved.contexts().len() <= bytes.len());
    }
}

fn memory(bytes: &[u8]) {
    if let Ok(saved) = SavedMemory::parse(bytes) {
        assert!(saved.spaces() <= bytes.len());
    }
}

fn runtime_api(bytes: &[u8]) {
    let stack = NetStack::new(StackConfig::default());
    let address = SocketAddr::from(([127, 0, 0, 1], 9001));
    let _ = ApiServer::load(&stack, address, LIMITS, Box::new(|_| {}), bytes);
}
