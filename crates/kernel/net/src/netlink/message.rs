//! Netlink messages as bytes (netlink(7)).

/// Bytes of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// `NLM_F_MULTI`.
pub(super) const MULTI: u16 = 2;
/// `NLM_F_ACK`.
pub(super) const ACK: u16 = 4;
/// `NLM_F_DUMP`.
pub(super) const DUMP: u16 = 0x300;

/// `struct nlmsghdr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) len: u32,
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) port: u32,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = self.len.to_ne_bytes().to_vec();
        out.extend(self.kind.to_ne_bytes());
        out.extend(self.flags.to_ne_bytes());
        out.extend(self.sequence.to_ne_bytes());
        out.extend(self.port.to_ne_bytes());
        out
    }

    fn parse(bytes: &[u8]) -> Option<Header> {
        Some(Header {
            len: u32_at(bytes, 0)?,
            kind: u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?),
            flags: u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?),
            sequence: u32_at(bytes, 8)?,
            port: u32_at(bytes, 12)?,
        })
    }
}

/// A native-endian number in a message.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*four))
}

/// The messages in a packet, each with its payload; stops at the first that is not whole, as Linux does.
pub(super) fn split(mut packet: &[u8]) -> Vec<(Header, &[u8])> {
    let mut messages = Vec::new();
    while let Some(header) = Header::parse(packet) {
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        let Some(payload) = packet.get(HEADER..len) else {
            break;
        };
        messages.push((header, payload));
        packet = packet.get(align(len)..).unwrap_or_default();
    }
    messages
}

/// The attributes after a fixed part (`struct rtattr`).
pub(super) fn attributes(payload: &[u8], fixed: usize) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    let mut rest = payload.get(align(fixed)..).unwrap_or_default();
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let [a, b, c, d] = *head;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = rest.get(4..len) else { break };
        // The two highest bits say "nested" and "network order".
        found.push((u16::from_ne_bytes([c, d]) & 0x3fff, value));
        rest = rest.get(align(len)..).unwrap_or_default();
    }
    found
}

/// Appends an attribute.
pub(super) fn put(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    message.extend(len.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(align(message.len()), 0);
}

/// Sets the length of a finished message.
pub(super) fn finish(mut message: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(message.len())
        .unwrap_or(u32::MAX)
        .to_ne_bytes();
    for (place, byte) in message.iter_mut().zip(len) {
        *place = byte;
    }
    message
}

fn align(len: usize) -> usize {
    len.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_split_within_bounds(packet: Vec<u8>) {
            let total: usize = split(&packet).iter().map(|(_, p)| p.len() + HEADER).sum();
            prop_assert!(total <= packet.len());
        }

        #[test]
        fn attributes_survive(values in prop::collection::vec((0u16..64, prop::collection::vec(any::<u8>(), 0..40)), 0..8)) {
            let mut message = vec![0; 4];
            for (kind, value) in &values {
                put(&mut message, *kind, value);
            }
            let found = attributes(&message, 4);
            let found: Vec<_> = found.into_iter().map(|(k, v)| (k, v.to_vec())).collect();
            prop_assert_eq!(found, values);
        }

        #[test]
        fn any_bytes_are_attributes_within_bounds(payload: Vec<u8>, fixed in 0usize..64) {
            let total: usize = attributes(&payload, fixed).iter().map(|(_, v)| v.len() + 4).sum();
            prop_assert!(total <= payload.len());
        }
    }
}
