//! Reading of a request body, with a length or in chunks: kept up to a limit, or handed on in
//! pieces as far as a window allows, and thrown away beyond its limit.

use serde::{Deserialize, Serialize};

use crate::head::{Framing, Malformed, text};
use crate::limits::{MAX_CHUNK_LINE, MAX_HEADERS, PIECE_BYTES};

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
    /// What came was no body.
    Broken,
}

/// What becomes of the data.
#[derive(Debug, Serialize, Deserialize)]
enum Purpose {
    /// It is kept until it is whole.
    Whole,
    /// It is handed on, and this many bytes more may be taken for that.
    Pieces(u64),
    /// It is counted and thrown away: there is too much of it.
    Nothing,
}

/// What came of taking data.
enum Taken {
    /// This many bytes of the run are missing.
    Missing(u64),
    /// What was taken before must be handed on first, or the window is used up.
    Stalled,
    /// There is more than may be.
    Overrun,
}

impl Place {
    /// Where a run of data goes on of which this many bytes are missing.
    fn after(&self, missing: u64) -> Self {
        match (self, missing) {
            (Self::Plain(_), 0) => Self::Done,
            (Self::Plain(_), missing) => Self::Plain(missing),
            (_, 0) => Self::ChunkEnd,
            (_, missing) => Self::Chunk(missing),
        }
    }
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
    purpose: Purpose,
    keep: u64,
    discard: u64,
    /// Bytes of data seen, kept or not.
    seen: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Trailers,
    /// A size line or trailers that are not complete yet.
    line: Vec<u8>,
}

/// How far a body has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It wants more bytes, or cannot take those that are left: see [`BodyReader::piece`].
    More,
    /// What is handed on in pieces is longer than may be. Said once; the rest is thrown away.
    Overrun,
    Complete,
}

impl BodyReader {
    /// A body of which at most `keep` bytes are kept; `keep + discard` is as much as is read.
    pub(crate) fn whole(framing: Framing, keep: u64, discard: u64) -> Self {
        Self::new(framing, Purpose::Whole, keep, discard)
    }

    /// A body of which at most `most` bytes are handed on, as far as `window` and what is granted
    /// later allow; `most + discard` is as much as is read.
    pub(crate) fn streamed(framing: Framing, most: u64, discard: u64, window: u64) -> Self {
        Self::new(framing, Purpose::Pieces(window), most, discard)
    }

    fn new(framing: Framing, purpose: Purpose, keep: u64, discard: u64) -> Self {
        let place = match framing {
            Framing::Length(0) => Place::Done,
            Framing::Length(length) => Place::Plain(length),
            Framing::Chunked => Place::Size,
        };
        let (data, line) = (Vec::new(), Vec::new());
        Self {
            place,
            purpose,
            keep,
            discard,
            seen: 0,
            data,
            trailers: Trailers::default(),
            line,
        }
    }

    /// More data came than may be kept or handed on; none of it is held any more.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self.purpose, Purpose::Nothing)
    }

    /// Most bytes that are kept or handed on.
    pub(crate) fn limit(&self) -> u64 {
        self.keep
    }

    /// What is to be handed on, at most [`PIECE_BYTES`]; none of a body that is kept whole.
    pub(crate) fn piece(&mut self) -> Option<Vec<u8>> {
        let streams = matches!(self.purpose, Purpose::Pieces(_));
        (streams && !self.data.is_empty()).then(|| std::mem::take(&mut self.data))
    }

    /// Widens the window by `bytes`, to `most` at most.
    pub(crate) fn grant(&mut self, bytes: u64, most: u64) {
        if let Purpose::Pieces(window) = &mut self.purpose {
            *window = window.saturating_add(bytes).min(most);
        }
    }

    /// Takes what belongs to the body from the front of `bytes`.
    pub(crate) fn read(&mut self, bytes: &mut &[u8]) -> Result<Progress, Malformed> {
        let progress = self.advance(bytes);
        if progress.is_err() {
            // Said again when what came before it was handed on.
            self.place = Place::Broken;
        }
        progress
    }

    fn advance(&mut self, bytes: &mut &[u8]) -> Result<Progress, Malformed> {
        loop {
            match self.place {
                Place::Done => return Ok(Progress::Complete),
                Place::Broken => return Err(Malformed),
                _ if bytes.is_empty() => return Ok(Progress::More),
                Place::Plain(missing) | Place::Chunk(missing) => {
                    match self.take(bytes, missing)? {
                        Taken::Missing(missing) => self.place = self.place.after(missing),
                        Taken::Stalled => return Ok(Progress::More),
                        Taken::Overrun => return Ok(Progress::Overrun),
                    }
                }
                Place::Size => self.size(bytes)?,
                Place::ChunkEnd => self.chunk_end(bytes)?,
                Place::Trailers => self.trailers(bytes)?,
            }
        }
    }

    /// Moves up to `missing` bytes in.
    fn take(&mut self, bytes: &mut &[u8], missing: u64) -> Result<Taken, Malformed> {
        let room = self.keep.saturating_sub(self.seen);
        let most = match self.purpose {
            Purpose::Whole | Purpose::Nothing => u64::MAX,
            Purpose::Pieces(_) if room == 0 && self.data.is_empty() => {
                self.purpose = Purpose::Nothing;
                return Ok(Taken::Overrun);
            }
            // The limit is kept to the byte, so that how the bytes were cut does not show.
            Purpose::Pieces(window) => window
                .min(room)
                .min((PIECE_BYTES - self.data.len().min(PIECE_BYTES)) as u64),
        };
        let count = missing.min(most).min(bytes.len() as u64);
        if count == 0 {
            return Ok(Taken::Stalled);
        }
        let (now, later) = bytes.split_at(usize::try_from(count).unwrap_or(bytes.len()));
        *bytes = later;
        self.seen = self.seen.saturating_add(count);
        match &mut self.purpose {
            Purpose::Pieces(window) => *window -= count,
            Purpose::Whole if self.seen > self.keep => {
                self.purpose = Purpose::Nothing;
                self.data = Vec::new();
            }
            Purpose::Whole | Purpose::Nothing => {}
        }
        if !self.is_too_large() {
            self.data.extend_from_slice(now);
        } else if self.seen > self.keep.saturating_add(self.discard) {
            return Err(Malformed);
        }
        Ok(Taken::Missing(missing - count))
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
        let mut body = BodyReader::whole(Framing::Chunked, keep, 1000);
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

    fn streamed(most: u64, window: u64) -> BodyReader {
        BodyReader::streamed(Framing::Chunked, most, 10, window)
    }

    #[test]
    fn a_window_holds_bytes_back_until_it_is_widened() {
        let mut body = streamed(100, 4);
        let mut bytes = &b"6\r\nabcdef\r\n0\r\n\r\n"[..];
        assert_eq!(body.read(&mut bytes), Ok(Progress::More));
        assert_eq!(body.piece().as_deref(), Some(&b"abcd"[..]));
        assert_eq!(
            (body.read(&mut bytes), body.piece()),
            (Ok(Progress::More), None)
        );
        body.grant(9, 1);
        assert_eq!(body.read(&mut bytes), Ok(Progress::More));
        assert_eq!(body.piece().as_deref(), Some(&b"e"[..]));
        body.grant(1, 1);
        assert_eq!(body.read(&mut bytes), Ok(Progress::Complete));
        assert_eq!(
            (body.piece().as_deref(), bytes),
            (Some(&b"f"[..]), &b""[..])
        );
    }

    #[test]
    fn a_stream_is_handed_on_up_to_its_limit_and_not_a_byte_further() {
        let mut body = streamed(4, 100);
        let mut bytes = &b"6\r\nabcdef\r\n0\r\n\r\n"[..];
        assert_eq!(body.read(&mut bytes), Ok(Progress::More));
        assert_eq!(body.piece().as_deref(), Some(&b"abcd"[..]));
        assert_eq!(body.read(&mut bytes), Ok(Progress::Overrun));
        assert_eq!(body.read(&mut bytes), Ok(Progress::Complete));
        assert!(body.is_too_large() && body.piece().is_none());
    }

    #[test]
    fn what_was_whole_before_nonsense_is_handed_on() {
        let mut body = streamed(100, 100);
        let mut bytes = &b"2\r\nabXXX"[..];
        assert_eq!(body.read(&mut bytes), Err(Malformed));
        assert_eq!(body.piece().as_deref(), Some(&b"ab"[..]));
        assert_eq!(body.read(&mut &b""[..]), Err(Malformed));
    }
}
