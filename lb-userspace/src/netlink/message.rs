//! Bytes of netlink messages: building requests, taking answers apart. Numbers are in host byte order, as netlink has them.

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// NLA_F_NESTED and NLA_F_NET_BYTEORDER do not belong to the type of an attribute.
const TYPE_MASK: u16 = 0x3fff;

/// A request under construction.
#[derive(Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A message of a type (RTM_…), flags (NLM_F_…) and the fixed part that the type demands.
    pub(crate) fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        pad(&mut bytes);
        Self(bytes)
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (ATTRIBUTE_HEADER + value.len()) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        pad(&mut self.0);
        self
    }

    /// Adds an attribute that holds what `fill` adds.
    pub(crate) fn nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        let mut filled = fill(self);
        let length = (filled.0.len() - start) as u16;
        filled.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    /// The bytes to send, with the sequence number that the answers will carry.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received<'a> {
    /// RTM_… or NLMSG_….
    pub(crate) kind: u16,
    /// NLM_F_….
    pub(crate) flags: u16,
    /// Sequence number of the request that it answers, 0 for a notification.
    pub(crate) sequence: u32,
    /// The fixed part and the attributes.
    pub(crate) payload: &'a [u8],
}

impl<'a> Received<'a> {
    /// The first message of a datagram and what follows it; none at the end, or where the rest makes no sense.
    pub(crate) fn split_first(datagram: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = u32_at(datagram, 0)? as usize;
        if length < HEADER {
            return None;
        }
        let message = Self {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            payload: datagram.get(HEADER..length)?,
        };
        let rest = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some((message, rest))
    }

    /// The 32-bit number at an offset of the fixed part.
    pub(crate) fn u32(&self, offset: usize) -> Option<u32> {
        u32_at(self.payload, offset)
    }

    /// The 16-bit number at an offset of the fixed part.
    pub(crate) fn u16(&self, offset: usize) -> Option<u16> {
        u16_at(self.payload, offset)
    }

    /// The octet at an offset of the fixed part.
    pub(crate) fn u8(&self, offset: usize) -> Option<u8> {
        self.payload.get(offset).copied()
    }

    /// The attributes after a fixed part of `fixed` octets.
    pub(crate) fn attributes(&self, fixed: usize) -> Attributes<'a> {
        Attributes(
            self.payload
                .get(fixed.next_multiple_of(4)..)
                .unwrap_or_default(),
        )
    }
}

/// Walks attributes: type and value. Ends at the first that makes no sense.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes inside the value of a nested one.
    pub(crate) fn inside(value: &'a [u8]) -> Self {
        Self(value)
    }

    /// The value of the first attribute of a type.
    pub(crate) fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        Iterator::find(&mut self, |(k, _)| *k == kind).map(|(_, value)| value)
    }

    /// The first attribute of a type, as a 32-bit number.
    pub(crate) fn find_u32(self, kind: u16) -> Option<u32> {
        u32_at(self.find(kind)?, 0)
    }

    /// The first attribute of a type, as text that ends at its first zero.
    pub(crate) fn find_text(self, kind: u16) -> Option<String> {
        let value = self.find(kind)?;
        let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
        Some(String::from_utf8_lossy(&value[..end]).into_owned())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = u16_at(self.0, 0)? as usize;
        let kind = u16_at(self.0, 2)? & TYPE_MASK;
        let value = self.0.get(ATTRIBUTE_HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let octets = bytes.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_ne_bytes(octets.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let octets = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(octets.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_can_be_taken_apart() {
        let bytes = Message::new(44, 5, &[9, 0, 0, 0])
            .attribute(1, b"odd\0\0")
            .nested(0x8002, |m| m.attribute(7, &77u32.to_ne_bytes()))
            .attribute(3, &[])
            .finish(1234);
        assert_eq!(bytes.len() % 4, 0);

        let (message, rest) = Received::split_first(&bytes).unwrap();
        assert_eq!(rest, b"");
        assert_eq!(
            (message.kind, message.flags, message.sequence),
            (44, 5, 1234)
        );
        assert_eq!((message.u32(0), message.u8(0)), (Some(9), Some(9)));
        let attributes = message.attributes(4);
        assert_eq!(attributes.find_text(1).as_deref(), Some("odd"));
        assert_eq!(
            Attributes::inside(attributes.find(2).unwrap()).find_u32(7),
            Some(77)
        );
        assert_eq!(attributes.find(3), Some(&b""[..]));
        assert_eq!(attributes.find(4), None);
    }

    #[test]
    fn every_cut_of_a_message_is_refused_or_read_short_but_never_panics() {
        let bytes = Message::new(1, 0, &[0; 16])
            .attribute(1, b"abcdefg")
            .nested(2, |m| m.attribute(3, b"x"))
            .finish(1);
        for end in 0..bytes.len() {
            assert_eq!(Received::split_first(&bytes[..end]), None, "cut at {end}");
        }
        for end in 0..bytes.len() {
            let attributes = Attributes::inside(&bytes[..end]);
            assert!(attributes.count() <= bytes.len());
        }
    }

    #[test]
    fn a_length_shorter_than_its_own_header_ends_the_walk() {
        assert_eq!(Received::split_first(&[0; 64]), None);
        assert_eq!(Attributes::inside(&[0; 64]).next(), None);
        assert_eq!(Attributes::inside(&[3, 0, 1, 0]).next(), None);
    }
}
