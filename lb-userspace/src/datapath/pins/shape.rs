//! The shape of a map: what must agree for one to be used in another's place.

use std::fmt;

use crate::datapath::bpf::MapInfo;

/// Type, sizes and flags of a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapShape {
    /// Number of the kernel's `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries.
    pub max_entries: u32,
    /// Flags that it was made with (BPF_F_…).
    pub flags: u32,
}

impl From<MapInfo> for MapShape {
    fn from(info: MapInfo) -> Self {
        Self {
            map_type: info.map_type,
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
            flags: info.flags,
        }
    }
}

impl fmt::Display for MapShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match type_name(self.map_type) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "map type {}", self.map_type)?,
        }
        write!(
            f,
            " of {} entries, {}-byte keys, {}-byte values, flags {:#x}",
            self.max_entries, self.key_size, self.value_size, self.flags
        )
    }
}

fn type_name(map_type: u32) -> Option<&'static str> {
    Some(match map_type {
        1 => "hash",
        2 => "array",
        5 => "per-CPU hash",
        6 => "per-CPU array",
        9 => "LRU hash",
        10 => "per-CPU LRU hash",
        11 => "longest-prefix trie",
        27 => "ring buffer",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_reads_as_a_sentence_part() {
        let shape = MapShape {
            map_type: 9,
            key_size: 16,
            value_size: 36,
            max_entries: 262_144,
            flags: 0,
        };
        assert_eq!(
            shape.to_string(),
            "LRU hash of 262144 entries, 16-byte keys, 36-byte values, flags 0x0"
        );
        let odd = MapShape {
            map_type: 77,
            ..shape
        };
        assert!(odd.to_string().starts_with("map type 77 of"));
    }
}
