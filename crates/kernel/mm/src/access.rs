//! Typed reading and writing of guest memory.

use base_abi::Errno;
use base_abi::page::page_floor;
use base_abi::structs::Iovec;
use kernel_vfs::{Result, UserMemory};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::mm::Mm;

/// Most parts of a vectored call (`UIO_MAXIOV`).
pub const IOV_MAX: usize = 1024;

/// Most bytes that one reading or writing call moves (`MAX_RW_COUNT`).
pub const MAX_RW_BYTES: u64 = page_floor(i32::MAX as u64);

/// First look for the end of a string: most paths are shorter.
const FIRST_LOOK: usize = 256;

/// Largest guest array that [`Mm::read_slice`] copies at once, in bytes.
const MAX_SLICE_BYTES: usize = 64 << 20;

impl UserMemory for Mm {
    fn read_bytes(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        if buf.is_empty() {
            return Ok(());
        }
        let got = self.space.read(addr, buf);
        if got == buf.len() {
            return Ok(());
        }
        // Rare: the rest is absent, or not the guest's.
        self.read_absent(addr, buf, got)
    }

    fn write_bytes(&self, addr: u64, data: &[u8]) -> Result<()> {
        if data.is_empty() || self.space.write(addr, data) == data.len() {
            return Ok(());
        }
        Err(Errno::EFAULT)
    }
}

impl Mm {
    /// Reads a structure.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn read_obj<T: FromBytes + IntoBytes>(&self, addr: u64) -> Result<T> {
        let mut value = T::new_zeroed();
        self.read_bytes(addr, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a structure.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn write_obj<T: IntoBytes + Immutable + ?Sized>(&self, addr: u64, value: &T) -> Result<()> {
        self.write_bytes(addr, value.as_bytes())
    }

    /// Reads an array of `count` structures.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for an array beyond 64 MiB.
    pub fn read_slice<T>(&self, addr: u64, count: usize) -> Result<Vec<T>>
    where
        T: FromBytes + IntoBytes,
    {
        let bytes = count.checked_mul(size_of::<T>());
        if bytes.is_none_or(|bytes| bytes > MAX_SLICE_BYTES) {
            return Err(Errno::EINVAL);
        }
        let mut values: Vec<T> = std::iter::repeat_with(T::new_zeroed).take(count).collect();
        self.read_bytes(addr, values.as_mut_slice().as_mut_bytes())?;
        Ok(values)
    }

    /// Writes an array of structures.
    ///
    /// # Errors
    /// `EFAULT`; part may have been written.
    pub fn write_slice<T: IntoBytes + Immutable>(&self, addr: u64, values: &[T]) -> Result<()> {
        self.write_bytes(addr, values.as_bytes())
    }

    /// Reads as many bytes as are accessible, at most `buf.len()`.
    ///
    /// # Errors
    /// `EFAULT` when not even the first byte is.
    pub fn read_some(&self, addr: u64, buf: &mut [u8]) -> Result<usize> {
        match self.space.read(addr, buf) {
            0 if !buf.is_empty() => {
                self.read_absent(addr, &mut buf[..1], 0)?;
                Ok(1)
            }
            n => Ok(n),
        }
    }

    /// Writes as many bytes as are accessible.
    ///
    /// # Errors
    /// `EFAULT` when not even the first byte is.
    pub fn write_some(&self, addr: u64, data: &[u8]) -> Result<usize> {
        match self.space.write(addr, data) {
            0 if !data.is_empty() => Err(Errno::EFAULT),
            n => Ok(n),
        }
    }

    /// Fills `buf` as far as the memory goes; returns the count. Content that comes later is waited for, not left out.
    ///
    /// # Errors
    /// `EFAULT` when not even the first byte is there, or content is not there yet (see [`missing`](crate::missing)).
    pub fn read_prefix(&self, addr: u64, buf: &mut [u8]) -> Result<usize> {
        match self.read_bytes(addr, buf) {
            Ok(()) => Ok(buf.len()),
            Err(Errno::EFAULT) if !crate::missing(self) => self.read_some(addr, buf),
            Err(error) => Err(error),
        }
    }

    /// Reads a string up to its zero byte, which must come within `max` bytes (itself included).
    ///
    /// # Errors
    /// `EFAULT`; `ENAMETOOLONG` without a zero byte in reach.
    pub fn read_cstr(&self, addr: u64, max: usize) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut step = FIRST_LOOK;
        while text.len() < max {
            let old = text.len();
            let at = addr.checked_add(old as u64).ok_or(Errno::EFAULT)?;
            text.resize(max.min(old + step), 0);
            let got = self.read_some(at, &mut text[old..])?;
            text.truncate(old + got);
            if let Some(end) = text[old..].iter().position(|&b| b == 0) {
                text.truncate(old + end);
                return Ok(text);
            }
            // A short read ends at an inaccessible page: the next round says EFAULT.
            step = 4096;
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Reads the parts of a vectored call; the total is cut to [`MAX_RW_BYTES`] as Linux does.
    ///
    /// # Errors
    /// `EINVAL` for more than [`IOV_MAX`] parts or a negative length, `EFAULT`.
    pub fn read_iovecs(&self, addr: u64, count: usize) -> Result<Vec<Iovec>> {
        if count > IOV_MAX {
            return Err(Errno::EINVAL);
        }
        let mut parts: Vec<Iovec> = self.read_slice(addr, count)?;
        let mut left = MAX_RW_BYTES;
        for part in &mut parts {
            if i64::try_from(part.len).is_err() {
                return Err(Errno::EINVAL);
            }
            part.len = part.len.min(left);
            left -= part.len;
        }
        Ok(parts)
    }

    /// Fills `buf` with the bytes of the parts after the first `skip`, as far as the memory goes; returns the count.
    ///
    /// # Errors
    /// As [`read_prefix`](Mm::read_prefix).
    pub fn gather_prefix(&self, parts: &[Iovec], skip: u64, buf: &mut [u8]) -> Result<usize> {
        let (mut skip, mut filled) = (skip, 0usize);
        for part in parts {
            let cut = skip.min(part.len);
            skip -= cut;
            let left = usize::try_from(part.len - cut).unwrap_or(usize::MAX);
            let len = left.min(buf.len() - filled);
            let place = buf.get_mut(filled..filled + len).unwrap_or_default();
            match self.read_prefix(part.base.wrapping_add(cut), place) {
                Ok(n) if n == len => filled += n,
                Ok(n) => return Ok(filled + n),
                Err(Errno::EFAULT) if filled > 0 && !crate::missing(self) => return Ok(filled),
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Copies the bytes of all parts, at most `max`, into one buffer.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn gather(&self, parts: &[Iovec], max: usize) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        for part in parts {
            let old = data.len();
            let len = usize::try_from(part.len).map_err(|_| Errno::EFAULT)?;
            let len = len.min(max - old);
            data.resize(old + len, 0);
            self.read_bytes(part.base, &mut data[old..])?;
        }
        Ok(data)
    }

    /// Spreads bytes over the parts in order, as far as the parts and the memory go; returns how many found room.
    pub fn scatter(&self, parts: &[Iovec], data: &[u8]) -> usize {
        let mut left = data;
        for part in parts {
            let len = usize::try_from(part.len)
                .unwrap_or(usize::MAX)
                .min(left.len());
            let (now, later) = left.split_at(len);
            let given = self.write_some(part.base, now).unwrap_or(0);
            if given < now.len() {
                return data.len() - left.len() + given;
            }
            left = later;
        }
        data.len() - left.len()
    }
}
