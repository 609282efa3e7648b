//! What `/proc` says about other processes.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use crate::call::{check, syscall6};
use crate::page_map::PageMap;
use crate::process::Pid;

/// `struct open_how` (openat2(2)).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

const RESOLVE_NO_SYMLINKS: u64 = 4;
const RESOLVE_BENEATH: u64 = 8;

/// `/proc`, opened once so that later look-ups need no path from the root.
#[derive(Debug)]
pub struct ProcDir(File);

impl ProcDir {
    /// Opens `/proc`.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open() -> io::Result<ProcDir> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        Ok(ProcDir(
            File::options()
                .read(true)
                .custom_flags(flags)
                .open("/proc")?,
        ))
    }

    /// What a process has of memory (`/proc/<pid>/status`).
    ///
    /// # Errors
    /// `ENOENT` when the process is gone; what openat(2) says.
    pub fn memory(&self, pid: Pid) -> io::Result<ProcessMemory> {
        ProcessMemory::of_status(&self.open_below(&format!("{pid}/status"))?)
    }

    /// Bytes of resident memory that no file is behind, a page that several processes have as a part to each
    /// (`Pss_Anon` of `/proc/<pid>/smaps_rollup`, since Linux 5.4). Looks at every page.
    ///
    /// # Errors
    /// `ENOENT` when the process is gone, `EACCES` without the rights of ptrace(2).
    pub fn proportional_bytes(&self, pid: Pid) -> io::Result<u64> {
        let file = self.open_below(&format!("{pid}/smaps_rollup"))?;
        kib(&beginning(&file)?, "Pss_Anon:").ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Bytes of resident memory that a process shares with no file (`/proc/<pid>/statm`).
    ///
    /// # Errors
    /// `ENOENT` when the process is gone; what openat(2) says.
    pub fn private_bytes(&self, pid: Pid) -> io::Result<u64> {
        let mut file = self.open_below(&format!("{pid}/statm"))?;
        let mut text = [0u8; 256];
        let n = file.read(&mut text)?;
        let text = String::from_utf8_lossy(text.get(..n).unwrap_or(&[])).into_owned();
        let mut fields = text
            .split_ascii_whitespace()
            .map(|f| f.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (fields.nth(1).unwrap_or(0), fields.next().unwrap_or(0));
        Ok(resident.saturating_sub(shared).saturating_mul(4096))
    }

    /// What a process has in its pages (`/proc/<pid>/pagemap`).
    ///
    /// # Errors
    /// `ENOENT` when the process is gone, `EACCES` without the rights of ptrace(2).
    pub fn page_map(&self, pid: Pid) -> io::Result<PageMap> {
        self.open_below(&format!("{pid}/pagemap")).map(PageMap::new)
    }

    fn open_below(&self, path: &str) -> io::Result<File> {
        let path = CString::new(path)?;
        let how = OpenHow {
            flags: (libc::O_RDONLY | libc::O_CLOEXEC) as u64,
            mode: 0,
            resolve: RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
        };
        let args = [
            self.0.as_raw_fd() as u64,
            path.as_ptr() as u64,
            (&raw const how) as u64,
            std::mem::size_of::<OpenHow>() as u64,
            0,
            0,
        ];
        // SAFETY: needed because the C library has no wrapper; `path` is a C string and `how` a struct open_how of the
        // given size, and both outlive the call.
        let fd = check(unsafe { syscall6(libc::SYS_openat2, args) })?;
        // SAFETY: needed to take ownership of the descriptor just returned.
        Ok(unsafe { File::from_raw_fd(fd as i32) })
    }
}

/// What a process has of memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Resident pages that no file is behind (`RssAnon`).
    pub anonymous: u64,
    /// Page tables (`VmPTE`).
    pub tables: u64,
}

/// The beginning of a file, which is more than all of a status file.
fn beginning(file: &File) -> io::Result<String> {
    let mut text = [0u8; 8192];
    let n = file.read_at(&mut text, 0)?;
    Ok(String::from_utf8_lossy(text.get(..n).unwrap_or(&[])).into_owned())
}

impl ProcessMemory {
    /// From an open `/proc/<pid>/status`.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn of_status(file: &File) -> io::Result<ProcessMemory> {
        let text = beginning(file)?;
        Ok(ProcessMemory {
            anonymous: kib(&text, "RssAnon:").unwrap_or(0),
            tables: kib(&text, "VmPTE:").unwrap_or(0),
        })
    }
}

/// The bytes of a line such as `VmPTE:  44 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

impl AsFd for ProcDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_tables() {
        let proc = ProcDir::open().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let status = proc.memory(own).unwrap();
        assert!(status.anonymous > 0 && status.tables > 0, "{status:?}");
        assert!(proc.proportional_bytes(own).unwrap() > 0);
        assert!(proc.memory(i32::MAX).is_err());
    }

    #[test]
    fn what_is_no_number_is_nothing() {
        let text = "VmPTE:\t  44 kB\nRssAnon:\tx kB\nRssFile:\t99999999999999999999 kB\n";
        assert_eq!(kib(text, "VmPTE:"), Some(44 << 10));
        assert_eq!(kib(text, "RssAnon:"), None);
        assert_eq!(kib(text, "RssFile:"), None);
        assert_eq!(kib(text, "VmSwap:"), None);
    }
}
