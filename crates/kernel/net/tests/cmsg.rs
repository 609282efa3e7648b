//! Control messages: whatever bytes a guest writes are parsed within bounds, and what is written
//! can be parsed again.

use kernel_net::{MsgFlags, cmsg};
use kernel_vfs::Errno;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(buffer: Vec<u8>) {
        if let Ok(found) = cmsg::parse(&buffer) {
            let total: usize = found.iter().map(|c| c.data.len() + 16).sum();
            prop_assert!(total <= buffer.len());
        }
    }

    #[test]
    fn any_length_field(len: u64, tail in 0usize..64) {
        let mut buffer = len.to_ne_bytes().to_vec();
        buffer.resize(16 + tail, 0);
        let fits = (16..=16 + tail as u64).contains(&len);
        prop_assert_eq!(cmsg::parse(&buffer).is_ok(), fits);
    }

    #[test]
    fn written_is_parsed(messages in prop::collection::vec((0u32..9, 0u32..9, prop::collection::vec(any::<u8>(), 0..30)), 0..6)) {
        let mut writer = cmsg::ControlWriter::new(4096);
        for (level, kind, data) in &messages {
            writer.put(*level, *kind, data);
        }
        let (bytes, flags) = writer.finish();
        prop_assert!(flags.is_empty());
        let found = cmsg::parse(&bytes).expect("what was written");
        let found: Vec<_> = found.iter().map(|c| (c.level, c.kind, c.data.to_vec())).collect();
        prop_assert_eq!(found, messages);
    }

    #[test]
    fn never_more_than_there_is_room(room in 0usize..100, sizes in prop::collection::vec(0usize..60, 0..6)) {
        let mut writer = cmsg::ControlWriter::new(room);
        for size in &sizes {
            writer.put(1, 1, &vec![7; *size]);
        }
        let needed: usize = sizes.iter().map(|s| 16 + s).sum();
        let (bytes, flags) = writer.finish();
        prop_assert!(bytes.len() <= room);
        prop_assert!(needed <= room || flags.contains(MsgFlags::CTRUNC));
    }

    #[test]
    fn any_address(bytes: Vec<u8>) {
        if let Ok(address) = kernel_net::Address::parse(&bytes) {
            prop_assert!(address.encode().len() <= 128);
        }
    }
}

#[test]
fn numbers_of_descriptors() {
    assert_eq!(cmsg::rights(&[0; 8]), Ok(vec![0, 0]));
    assert_eq!(cmsg::rights(&[0; 7]), Err(Errno::EINVAL));
    assert_eq!(cmsg::rights(&[0; 254 * 4]), Err(Errno::EINVAL));
}
