//! A program's file as execve(2) reads it: an error or a loaded program, whose entry lies in the guest's part of memory.

use std::sync::Arc;

use kernel_loader::{CpuWords, ExecIdentity, ExecRequest, Program, load};
use kernel_mm::{Mm, MmLimits};
use kernel_vfs::{AccessMode, Description, Errno, File, Result, StatusFlags};
use platform_api::Platform;
use platform_script::ScriptPlatform;

/// A file in memory.
struct Bytes(Arc<std::fs::File>);

impl File for Bytes {
    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        Ok(std::os::unix::fs::FileExt::read_at(&*self.0, buf, offset)?)
    }

    fn memory_file(&self) -> Result<Arc<std::fs::File>> {
        Ok(Arc::clone(&self.0))
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let file = crate::snapshot::file_of(bytes);
    let file: Arc<dyn File> = Arc::new(Bytes(Arc::new(file)));
    let program = Program {
        description: Description::anonymous(file, AccessMode::Read, StatusFlags::empty()),
        path: Arc::from("/program"),
    };
    let platform = ScriptPlatform::new();
    let space = platform.new_address_space().expect("a scripted space");
    let features = platform.features();
    let mm = Mm::new(space, &features, MmLimits::default());
    let request = ExecRequest {
        program: program.clone(),
        name: b"/program",
        argv: vec![b"program".to_vec()],
        envp: vec![b"A=B".to_vec()],
        identity: &|_| Ok(ExecIdentity::default()),
        random: [7; 16],
        cpu: CpuWords::default(),
        vdso: None,
    };
    // An interpreter is the same file: it may ask for itself.
    let open = |path: &[u8]| match path {
        b"/program" => Ok(program.clone()),
        _ => Err(Errno::ENOENT),
    };
    if let Ok(loaded) = load(&mm, &open, request) {
        assert!(loaded.rsp < features.max_address, "{:x}", loaded.rsp);
        assert!(loaded.comm.len() <= 15, "{:?}", loaded.comm);
    }
}
