//! The process that sandboxes are made from.
//!
//! A sandbox that starts as a program pays for loading it: relocations, the C library's look at the
//! processor, our own arguments. The zygote has that behind it and divides. It has one thread,
//! has read nothing but orders, and has drawn no random number, so what its children share is the layout of
//! their memory and nothing else.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use proto_sandbox::{FromZygote, RightsReader, ToZygote, read_message, write_message};
use sandbox_confine::jail::{Forked, Open, Zygote};

use crate::{Diagnostics, child};

/// Makes sandboxes until the node is gone. Returns in the zygote at its end, and in each child when its
/// sandbox has ended.
///
/// # Errors
/// When the socket is of no use.
pub fn run(socket: OwnedFd) -> io::Result<()> {
    let socket = UnixStream::from(socket);
    call_oneself("zygote");
    let zygote = Zygote::prepare();
    // What every child would ask the host for, asked once.
    let _ = host_sys::vdso_code::counter_is_steady();
    let _ = platform_api::processor::native_features();
    let _ = kernel_fs::host_view::shown();
    // All that the standard library ever asks of the processor.
    let _ = std::arch::is_x86_feature_detected!("avx2");
    let mut reader = RightsReader::new(&socket);
    while let Some(message) = read_message::<ToZygote>(&mut reader).map_err(io::Error::other)? {
        let ToZygote::Fork { join } = message.head;
        let mut given = reader.claim(ToZygote::DESCRIPTORS)?.into_iter();
        let (Some(theirs), Some(stderr)) = (given.next(), given.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        // Opened as the zygote, which may; the child has a user namespace of its own.
        let procs_files = join.into_iter().map(|path| (open_procs_file(&path), path));
        let procs_files: Vec<_> = procs_files.collect();
        let answer = match zygote.fork() {
            Ok(Forked::Child(jail)) => {
                drop(reader);
                drop(socket);
                return live(jail, theirs, &stderr, procs_files);
            }
            Ok(Forked::Parent(pid)) => FromZygote::Forked { pid },
            Err(error) => FromZygote::Failed {
                reason: error.to_string(),
            },
        };
        write_message(&mut &socket, &answer, &[]).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Sets the name that ps(1) shows (proc_pid_comm(5)).
fn call_oneself(name: &str) {
    let _ = std::fs::write("/proc/self/comm", name);
}

fn open_procs_file(path: &PathBuf) -> io::Result<File> {
    File::options().write(true).open(path)
}

/// The life of a child.
fn live(
    jail: Open,
    socket: OwnedFd,
    stderr: &OwnedFd,
    procs_files: Vec<(io::Result<File>, PathBuf)>,
) -> io::Result<()> {
    call_oneself("sandbox");
    host_sys::descriptor::become_standard_error(stderr)?;
    // A terminal's interrupt is for the node, which then ends its sandboxes in order.
    host_sys::process::lead_a_group()?;
    for (procs_file, path) in procs_files {
        // The second line of defence: a sandbox without it still keeps its limits itself.
        if let Err(error) = procs_file.and_then(|mut procs_file| procs_file.write_all(b"0")) {
            eprintln!(
                "rekindle: control group not joined: {}: {error}",
                path.display()
            );
        }
    }
    child::run_in(jail, socket, Diagnostics::Silent)
}
