//! Sizes and spans of time as people write them: `512M`, `30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, written with the suffixes K, M, G of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            other => return Err(format!("unknown unit `{other}`, use K, M or G")),
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| format!("`{digits}` is no whole number"))?;
        number
            .checked_mul(factor)
            .map(Bytes)
            .ok_or_else(|| "too large".to_owned())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b if b >= 1 << 30 && b % (1 << 30) == 0 => write!(f, "{}G", b >> 30),
            b if b >= 1 << 20 => write!(f, "{}M", b >> 20),
            b if b >= 1 << 10 => write!(f, "{}K", b >> 10),
            b => write!(f, "{b}"),
        }
    }
}

/// A span of time, written with the suffixes ms, s, m, h; seconds without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match &text[digits.len()..] {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            other => return Err(format!("unknown unit `{other}`, use ms, s, m or h")),
        };
        let number: f64 = digits
            .parse()
            .map_err(|_| format!("`{digits}` is no number"))?;
        Duration::try_from_secs_f64(number * factor)
            .ok()
            .filter(|span| !span.is_zero())
            .map(Span)
            .ok_or_else(|| "must be above zero and reasonable".to_owned())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds >= 1.0 {
            write!(f, "{seconds:.2} s")
        } else if seconds >= 0.001 {
            write!(f, "{:.1} ms", seconds * 1e3)
        } else {
            write!(f, "{:.1} us", seconds * 1e6)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_written() {
        assert_eq!("512M".parse(), Ok(Bytes(512 << 20)));
        assert_eq!("1GiB".parse(), Ok(Bytes(1 << 30)));
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        for bad in ["", "M", "1.5G", "-1", "10T", "99999999999G"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_read_as_written() {
        assert_eq!("30s".parse(), Ok(Span(Duration::from_secs(30))));
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        assert_eq!("1.5m".parse(), Ok(Span(Duration::from_secs(90))));
        for bad in ["", "s", "0", "-1s", "5d", "1e300h"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
