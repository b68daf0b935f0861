//! The shape of a map: what must agree for one to be used in another's place.

use std::fmt;

use super::MapKind;

/// Type, sizes and flags of a map that exists, or that is demanded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Number of the type (`enum bpf_map_type`).
    pub kind: u32,
    /// Size of the key in bytes.
    pub key_size: u32,
    /// Size of the value in bytes.
    pub value_size: u32,
    /// Flags at creation (BPF_F_…).
    pub flags: u32,
    /// Number of entries.
    pub max_entries: u32,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match MapKind::ALL
            .into_iter()
            .find(|kind| *kind as u32 == self.kind)
        {
            Some(kind) => f.write_str(kind.name())?,
            None => write!(f, "map of type {}", self.kind)?,
        }
        write!(
            f,
            " of {} entries, {}-byte keys, {}-byte values, flags {:#x}",
            self.max_entries, self.key_size, self.value_size, self.flags
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_reads_as_a_sentence_part() {
        let shape = Shape {
            kind: MapKind::LruHash as u32,
            key_size: 16,
            value_size: 36,
            max_entries: 262_144,
            flags: 0,
        };
        assert_eq!(
            shape.to_string(),
            "LRU hash of 262144 entries, 16-byte keys, 36-byte values, flags 0x0"
        );
        let odd = Shape { kind: 77, ..shape };
        assert!(odd.to_string().starts_with("map of type 77 of"), "{odd}");
    }
}
