//! Pipes against the host's pipes, answer by answer.

use super::*;
use kernel_vfs::{AccessMode, Description, File, PollTable, StatusFlags};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use rustix::pipe::PipeFlags;

struct Both {
    ours: [Option<Arc<Description>>; 2],
    host: [Option<OwnedFd>; 2],
}

impl Both {
    fn new(flags: PipeFlags) -> Both {
        let (r, w) = Pipe::pair(&Budget::new(4096), 1, [0; 2]).unwrap();
        let mut status = StatusFlags::NONBLOCK;
        status.set(StatusFlags::DIRECT, flags.contains(PipeFlags::DIRECT));
        let (hr, hw) = rustix::pipe::pipe_with(flags | PipeFlags::NONBLOCK).unwrap();
        Both {
            ours: [
                Some(Description::anonymous(r, AccessMode::Read, status)),
                Some(Description::anonymous(w, AccessMode::Write, status)),
            ],
            host: [Some(hr), Some(hw)],
        }
    }

    fn write(&self, len: usize) -> Result<usize> {
        let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let theirs = host(rustix::io::write(self.host[1].as_ref().unwrap(), &data));
        let mine = self.ours[1].as_ref().unwrap().write(&data);
        assert_eq!(mine, theirs, "write of {len}");
        self.same_state();
        mine
    }

    fn read(&self, len: usize) -> Result<usize> {
        let (mut a, mut b) = (vec![0; len], vec![0; len]);
        let mine = self.ours[0].as_ref().unwrap().read(&mut a);
        let theirs = host(rustix::io::read(self.host[0].as_ref().unwrap(), &mut b));
        assert_eq!(mine, theirs, "read of {len}");
        assert!(a == b, "bytes differ");
        self.same_state();
        mine
    }

    fn close(&mut self, end: usize) {
        self.ours[end] = None;
        self.host[end] = None;
        self.same_state();
    }

    fn same_state(&self) {
        for (ours, theirs) in self.ours.iter().zip(&self.host) {
            let (Some(ours), Some(theirs)) = (ours, theirs) else {
                continue;
            };
            assert_eq!(
                ours.file().poll(&mut PollTable::look()).bits(),
                host_poll(theirs),
                "poll"
            );
            let end: &PipeEnd = ours.downcast().unwrap();
            assert_eq!(
                end.pipe().len() as u64,
                rustix::io::ioctl_fionread(theirs).unwrap()
            );
        }
    }
}

fn host<T>(result: rustix::io::Result<T>) -> Result<T> {
    result.map_err(|e| Errno::from_raw(e.raw_os_error()))
}

fn host_poll(fd: &OwnedFd) -> u32 {
    let mut fds = [PollFd::new(fd, PollFlags::all())];
    rustix::event::poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap();
    u32::from(fds[0].revents().bits())
}

#[test]
fn streams_fill_and_drain_like_linux() {
    let pipe = Both::new(PipeFlags::empty());
    assert_eq!(pipe.read(1), Err(Errno::EAGAIN));
    for len in [0, 1, 100, 4095, 4096, 4097, 10_000, 70_000, 1, 4096] {
        let _ = pipe.write(len);
    }
    for len in [0, 1, 4096, 50, 9000, 100_000, 5] {
        let _ = pipe.read(len);
    }
    // Odd sizes around a partly read page.
    for _ in 0..40 {
        let _ = pipe.write(3001);
        let _ = pipe.read(1777);
    }
}

#[test]
fn one_byte_at_a_time_fills_every_byte() {
    let pipe = Both::new(PipeFlags::empty());
    let mut n = 0;
    while pipe.write(1) == Ok(1) {
        n += 1;
    }
    assert_eq!(n, DEFAULT_CAPACITY);
    // One byte read frees no slot, a page does.
    let _ = pipe.read(1);
    let _ = pipe.write(1);
    let _ = pipe.read(4095);
    let _ = pipe.write(1);
}

#[test]
fn ends_hang_up_like_linux() {
    let mut pipe = Both::new(PipeFlags::empty());
    let _ = pipe.write(10);
    pipe.close(1);
    assert_eq!(pipe.read(4), Ok(4));
    assert_eq!(pipe.read(40), Ok(6));
    assert_eq!(pipe.read(40), Ok(0));

    let mut pipe = Both::new(PipeFlags::empty());
    let _ = pipe.write(10);
    pipe.close(0);
    assert_eq!(pipe.write(0), Ok(0));
    assert_eq!(pipe.write(1), Err(Errno::EPIPE));
}

#[test]
fn packets_keep_their_bounds_like_linux() {
    let pipe = Both::new(PipeFlags::DIRECT);
    for len in [3, 5, 5000, 1] {
        let _ = pipe.write(len);
    }
    for len in [2, 100, 100, 9999, 9999, 9999] {
        let _ = pipe.read(len);
    }
}

#[test]
fn capacity_changes_like_linux() {
    let pipe = Both::new(PipeFlags::empty());
    let ours = pipe.ours[1].as_ref().unwrap();
    let ours = ours.downcast::<PipeEnd>().unwrap().pipe();
    let theirs = pipe.host[1].as_ref().unwrap();
    for size in [0, 1, 4097, 65537, 1 << 20, 8192] {
        let mine = ours.set_capacity(size).map(|_| ours.capacity());
        let host_size = host(rustix::pipe::fcntl_setpipe_size(theirs, size as usize));
        let host_size = host_size.and_then(|_| host(rustix::pipe::fcntl_getpipe_size(theirs)));
        assert_eq!(mine, host_size, "size {size}");
    }
    let _ = pipe.write(8192);
    assert_eq!(ours.set_capacity(4096), Err(Errno::EBUSY));
    assert_eq!(
        host(rustix::pipe::fcntl_setpipe_size(theirs, 4096)),
        Err(Errno::EBUSY)
    );
    assert_eq!(ours.set_capacity((1 << 31) + 1), Err(Errno::EINVAL));
    assert_eq!(ours.set_capacity(2 << 20), Err(Errno::EPERM));
}

#[test]
fn pages_are_bounded_and_returned() {
    let pages = Budget::new(20);
    let first = Pipe::pair(&pages, 1, [0; 2]).unwrap();
    let second = Pipe::pair(&pages, 2, [0; 2]).unwrap();
    assert_eq!(first.0.pipe().capacity(), DEFAULT_CAPACITY);
    assert_eq!(second.0.pipe().capacity(), 2 * PAGE);
    let _third = Pipe::pair(&pages, 3, [0; 2]).unwrap();
    assert_eq!(Pipe::pair(&pages, 4, [0; 2]).unwrap_err(), Errno::ENFILE);
    assert_eq!(second.0.pipe().set_capacity(1 << 20), Err(Errno::EPERM));
    drop(first);
    assert_eq!(pages.used(), 4);
}

#[test]
fn bytes_move_between_pipes() {
    let pages = Budget::new(1024);
    let (ar, aw) = Pipe::pair(&pages, 1, [0; 2]).unwrap();
    let (br, bw) = Pipe::pair(&pages, 2, [0; 2]).unwrap();
    let (a, b) = (ar.pipe(), bw.pipe());
    assert_eq!(a.splice_pipe(b, 10), Err(Stuck::Source));
    aw.write_at(0, b"hello world").unwrap();
    assert_eq!(a.tee(b, 5), Ok(5));
    assert_eq!(a.len(), 11);
    assert_eq!(a.splice_pipe(b, 100), Ok(11));
    assert_eq!(a.len(), 0);
    let mut out = [0; 32];
    assert_eq!(br.read_at(0, &mut out), Ok(16));
    assert_eq!(&out[..16], b"hellohello world");
    assert_eq!(a.tee(a, 1), Err(Stuck::Failed(Errno::EINVAL)));
    drop(aw);
    assert_eq!(a.splice_pipe(b, 1), Ok(0));
}

#[test]
fn bytes_move_between_a_pipe_and_a_file() {
    let (r, w) = Pipe::pair(&Budget::new(64), 1, [0; 2]).unwrap();
    let mut source = |buf: &mut [u8]| {
        buf.fill(9);
        Ok(buf.len())
    };
    assert_eq!(w.pipe().splice_from(100, &mut source), Ok(100));
    assert_eq!(w.pipe().splice_from(1 << 20, &mut source), Ok(15 * PAGE));
    assert_eq!(w.pipe().splice_from(1, &mut source), Err(Stuck::Target));
    let mut taken = 0;
    let short = r.pipe().splice_to(1 << 20, &mut |data| {
        let n = data.len().min(50);
        taken += n;
        Ok(n)
    });
    assert_eq!((short, taken), (Ok(50), 50));
    let failed = r.pipe().splice_to(10, &mut |_| Err(Errno::ENOSPC));
    assert_eq!(failed, Err(Stuck::Failed(Errno::ENOSPC)));
    assert_eq!(r.pipe().len(), 15 * PAGE + 50);
}
