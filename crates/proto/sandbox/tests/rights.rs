//! Descriptors arrive with their message, in order, and none is lost or made up.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use proto_sandbox::{
    CaptureSpec, CapturedPages, RightsReader, ToSandbox, read_message, write_message,
    write_with_descriptors,
};

fn capture(max_bytes: u64) -> ToSandbox {
    ToSandbox::Capture(CaptureSpec {
        max_bytes,
        pages: CapturedPages::All,
    })
}

fn resume() -> ToSandbox {
    ToSandbox::Resume {
        environment: Vec::new(),
    }
}

fn file_with(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn each_message_gets_its_own() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (first, second) = (file_with("first"), file_with("second"));
    write_with_descriptors(&ours, &capture(1), b"", &[first.as_fd()]).unwrap();
    write_message(&mut &ours, &resume(), b"").unwrap();
    write_with_descriptors(&ours, &capture(2), b"payload", &[second.as_fd()]).unwrap();
    drop((ours, first, second));

    let mut reader = RightsReader::new(&theirs);
    let mut told = Vec::new();
    while let Some(message) = read_message::<ToSandbox>(&mut reader).unwrap() {
        let mut text = String::new();
        for descriptor in reader.claim(message.head.descriptors()).unwrap() {
            File::from(descriptor).read_to_string(&mut text).unwrap();
        }
        told.push((message.head, message.payload, text));
    }
    let expected = [
        (capture(1), b"".to_vec(), "first".to_owned()),
        (resume(), b"".to_vec(), String::new()),
        (capture(2), b"payload".to_vec(), "second".to_owned()),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_message_without_its_descriptors_is_told_apart() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    write_message(&mut &ours, &capture(1), b"").unwrap();
    let mut reader = RightsReader::new(&theirs);
    let message = read_message::<ToSandbox>(&mut reader).unwrap().unwrap();
    assert!(reader.claim(message.head.descriptors()).is_err());
}

#[test]
fn more_than_a_message_may_carry_are_refused_by_both_ends() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let file = file_with("x");
    let many: Vec<BorrowedFd<'_>> = (0..5).map(|_| file.as_fd()).collect();
    assert!(write_with_descriptors(&ours, &capture(1), b"", &many).is_err());
    // A sender that keeps no rules cannot fill the reader's table.
    for _ in 0..3 {
        write_with_descriptors(&ours, &resume(), b"", &many[..4]).unwrap();
    }
    let mut reader = RightsReader::new(&theirs);
    let read = (0..3).try_for_each(|_| read_message::<ToSandbox>(&mut reader).map(|_| ()));
    assert!(read.is_err());
}
