//! `#!` lines (execve(2), "Interpreter scripts").

use base_abi::Errno;
use kernel_vfs::Result;

/// Bytes of a file that are looked at (`BINPRM_BUF_SIZE`).
pub(crate) const HEAD: usize = 256;

/// The interpreter of a script with its one optional argument.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shebang {
    pub(crate) interpreter: Vec<u8>,
    pub(crate) argument: Option<Vec<u8>>,
}

/// Reads the first bytes of a file as a script; `None` when it is none.
///
/// # Errors
/// `ENOEXEC` when no interpreter is named, or its name may have been cut off.
pub(crate) fn parse(head: &[u8]) -> Result<Option<Shebang>> {
    let Some(rest) = head.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let (line, complete) = match rest.iter().position(|&b| b == b'\n' || b == 0) {
        Some(end) => (&rest[..end], true),
        // A file shorter than the head ends its line by ending.
        None => (rest, head.len() < HEAD),
    };
    let line = trim(line);
    let blank = line.iter().position(|&b| is_blank(b));
    let (interpreter, argument) = match blank {
        Some(at) => (&line[..at], trim(&line[at..])),
        None if complete => (line, &line[..0]),
        None => return Err(Errno::ENOEXEC),
    };
    if interpreter.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    Ok(Some(Shebang {
        interpreter: interpreter.to_vec(),
        argument: (!argument.is_empty()).then(|| argument.to_vec()),
    }))
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shebang(interpreter: &str, argument: Option<&str>) -> Result<Option<Shebang>> {
        Ok(Some(Shebang {
            interpreter: interpreter.into(),
            argument: argument.map(Into::into),
        }))
    }

    #[test]
    fn takes_one_argument_with_its_spaces() {
        assert_eq!(parse(b"#!/bin/sh\necho"), shebang("/bin/sh", None));
        assert_eq!(
            parse(b"#! /usr/bin/env  -S python3 -u \t\nx"),
            shebang("/usr/bin/env", Some("-S python3 -u"))
        );
        assert_eq!(parse(b"#!/bin/sh"), shebang("/bin/sh", None));
    }

    #[test]
    fn refuses_nameless_and_cut_off_interpreters() {
        assert_eq!(parse(b"#! \t\n/bin/sh"), Err(Errno::ENOEXEC));
        let mut long = b"#!/".to_vec();
        long.resize(HEAD, b'a');
        assert_eq!(parse(&long), Err(Errno::ENOEXEC));
        assert_eq!(parse(b"\x7fELF"), Ok(None));
    }
}
