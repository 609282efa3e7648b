//! Reading of a request body, whole or chunked, kept up to a limit and thrown
//! away beyond it.

use serde::{Deserialize, Serialize};

use crate::head::{Framing, Malformed, text};
use crate::limits::{MAX_CHUNK_LINE, MAX_HEADERS};

/// Where in the body the next byte belongs.
#[derive(Debug, Serialize, Deserialize)]
enum Place {
    /// In data of which this many bytes are missing, without chunks.
    Plain(u64),
    /// In a chunk's size line.
    Size,
    /// In a chunk of which this many bytes are missing.
    Chunk(u64),
    /// In the line end after a chunk.
    ChunkEnd,
    /// In the trailers.
    Trailers,
    Done,
}

/// What came after the last chunk (only streamed responses use it).
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trailers {
    /// `Lambda-Runtime-Function-Error-Type`.
    pub(crate) error_type: Option<String>,
    /// `Lambda-Runtime-Function-Error-Body`, still in base64.
    pub(crate) error_body: Option<String>,
}

/// A body on its way in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BodyReader {
    place: Place,
    keep: u64,
    discard: u64,
    /// Bytes of data seen, kept or not.
    pub(crate) seen: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Trailers,
    /// A size line or trailers that are not complete yet.
    line: Vec<u8>,
}

/// How far a body has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Complete,
}

impl BodyReader {
    /// A body of which at most `keep` bytes are kept; `keep + discard` is as much as is read.
    pub(crate) fn new(framing: Framing, keep: u64, discard: u64) -> Self {
        let place = match framing {
            Framing::Length(0) => Place::Done,
            Framing::Length(length) => Place::Plain(length),
            Framing::Chunked => Place::Size,
        };
        let (data, line) = (Vec::new(), Vec::new());
        Self {
            place,
            keep,
            discard,
            seen: 0,
            data,
            trailers: Trailers::default(),
            line,
        }
    }

    /// More data came than may be kept; none of it is held any more.
    pub(crate) fn is_too_large(&self) -> bool {
        self.seen > self.keep
    }

    /// Takes what belongs to the body from the front of `bytes`.
    pub(crate) fn read(&mut self, bytes: &mut &[u8]) -> Result<Progress, Malformed> {
        loop {
            match self.place {
                Place::Done => return Ok(Progress::Complete),
                _ if bytes.is_empty() => return Ok(Progress::More),
                Place::Plain(missing) => {
                    self.place = match self.take(bytes, missing)? {
                        0 => Place::Done,
                        missing => Place::Plain(missing),
                    };
                }
                Place::Chunk(missing) => {
                    self.place = match self.take(bytes, missing)? {
                        0 => Place::ChunkEnd,
                        missing => Place::Chunk(missing),
                    };
                }
                Place::Size => self.size(bytes)?,
                Place::ChunkEnd => self.chunk_end(bytes)?,
                Place::Trailers => self.trailers(bytes)?,
            }
        }
    }

    /// Moves up to `missing` bytes in; how many are missing then.
    fn take(&mut self, bytes: &mut &[u8], missing: u64) -> Result<u64, Malformed> {
        let count = usize::try_from(missing)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let (now, later) = bytes.split_at(count);
        *bytes = later;
        self.seen = self.seen.saturating_add(count as u64);
        if !self.is_too_large() {
            self.data.extend_from_slice(now);
        } else {
            self.data = Vec::new();
            if self.seen > self.keep.saturating_add(self.discard) {
                return Err(Malformed);
            }
        }
        Ok(missing - count as u64)
    }

    fn size(&mut self, bytes: &mut &[u8]) -> Result<(), Malformed> {
        if !self.line_until(bytes, MAX_CHUNK_LINE, |line| line.ends_with(b"\n"))? {
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        let size = match httparse::parse_chunk_size(&line) {
            Ok(httparse::Status::Complete((_, size))) => size,
            _ => return Err(Malformed),
        };
        self.place = match size {
            0 => Place::Trailers,
            size => Place::Chunk(size),
        };
        Ok(())
    }

    fn chunk_end(&mut self, bytes: &mut &[u8]) -> Result<(), Malformed> {
        if !self.line_until(bytes, 2, |line| line.ends_with(b"\n"))? {
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        self.place = Place::Size;
        if line == b"\r\n" || line == b"\n" {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn trailers(&mut self, bytes: &mut &[u8]) -> Result<(), Malformed> {
        let over = |lines: &[u8]| {
            matches!(lines, b"\r\n" | b"\n")
                || lines.ends_with(b"\r\n\r\n")
                || lines.ends_with(b"\n\n")
        };
        // An error body in base64 may be as long as a header block, so the same limit holds.
        if !self.line_until(bytes, 64 * 1024, over)? {
            return Ok(());
        }
        let lines = std::mem::take(&mut self.line);
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        httparse::parse_headers(&lines, &mut headers).map_err(|_| Malformed)?;
        for header in headers.iter().filter(|header| !header.name.is_empty()) {
            match header.name.to_ascii_lowercase().as_str() {
                "lambda-runtime-function-error-type" => {
                    self.trailers.error_type = Some(text(header.value));
                }
                "lambda-runtime-function-error-body" => {
                    self.trailers.error_body = Some(text(header.value));
                }
                _ => {}
            }
        }
        self.place = Place::Done;
        Ok(())
    }

    /// Gathers bytes in `line` until `over`; whether it is.
    fn line_until(
        &mut self,
        bytes: &mut &[u8],
        most: usize,
        over: impl Fn(&[u8]) -> bool,
    ) -> Result<bool, Malformed> {
        while let Some((byte, later)) = bytes.split_first() {
            *bytes = later;
            if self.line.len() >= most {
                return Err(Malformed);
            }
            self.line.push(*byte);
            if *byte == b'\n' && over(&self.line) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(mut bytes: &[u8], keep: u64) -> Result<(BodyReader, Progress), Malformed> {
        let mut body = BodyReader::new(Framing::Chunked, keep, 1000);
        let progress = body.read(&mut bytes)?;
        Ok((body, progress))
    }

    #[test]
    fn chunks_join_and_trailers_are_kept() {
        let wire = b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nLambda-Runtime-Function-Error-Type: T\r\nx: y\r\n\r\n";
        let (body, progress) = chunked(wire, 100).unwrap();
        assert_eq!(
            (body.data.as_slice(), progress),
            (&b"abcde"[..], Progress::Complete)
        );
        assert_eq!(body.trailers.error_type.as_deref(), Some("T"));
    }

    #[test]
    fn chunks_that_lie_are_refused() {
        for wire in [
            &b"zz\r\n"[..],
            b"1\r\nabc\r\n",
            b"ffffffffffffffffff\r\n",
            &[b'1'; 2000],
        ] {
            assert!(chunked(wire, 100).is_err());
        }
    }

    #[test]
    fn too_much_is_counted_not_kept_and_in_the_end_refused() {
        let (body, progress) = chunked(b"5\r\nabcde\r\n0\r\n\r\n", 4).unwrap();
        assert!(body.is_too_large() && body.data.is_empty());
        assert_eq!(progress, Progress::Complete);
        let mut wire = b"7d0\r\n".to_vec();
        wire.extend([0; 2000]);
        assert!(chunked(&wire, 4).is_err());
    }
}
