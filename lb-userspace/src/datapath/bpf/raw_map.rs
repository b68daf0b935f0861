//! Entries of a map as plain bytes, for maps whose types are not known when this program is compiled.
//!
//! It refuses maps whose values are not what the map's value size says, such as per-CPU maps.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use aya_obj::generated::bpf_map_type::{
    BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH,
};

use super::{bpf, map_info};

const MAP_LOOKUP: u32 = 1;
const MAP_UPDATE: u32 = 2;
const MAP_NEXT_KEY: u32 = 4;

/// How an entry is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(in crate::datapath) enum Write {
    Overwrite = 0,
    OnlyNew = 1,
}

/// A map's entries as plain bytes.
pub(in crate::datapath) struct RawMap<'a> {
    map: BorrowedFd<'a>,
    key_size: usize,
    value_size: usize,
}

impl<'a> RawMap<'a> {
    /// The map behind a descriptor, which must be a map's. Per-CPU maps are refused: their values are longer.
    pub(in crate::datapath) fn new(map: BorrowedFd<'a>) -> io::Result<Self> {
        let info = map_info(map)?;
        let plain = [BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_ARRAY];
        if !plain.iter().any(|t| *t as u32 == info.map_type) {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        Ok(Self {
            map,
            key_size: info.key_size as usize,
            value_size: info.value_size as usize,
        })
    }

    /// Sizes of key and value in bytes.
    pub(in crate::datapath) fn sizes(&self) -> (usize, usize) {
        (self.key_size, self.value_size)
    }

    /// The key after one, or the first; none at the end. Of a key that is gone meanwhile the next is the first again.
    pub(in crate::datapath) fn next_key(&self, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key_size];
        let key = match key {
            Some(key) => self.checked_key(key)?.as_ptr() as u64,
            None => 0,
        };
        let mut attr = self.element(key, next.as_mut_ptr() as u64, 0);
        // SAFETY: the pointers are null or to `key_size` bytes that outlive the call.
        absent(unsafe { bpf(MAP_NEXT_KEY, &mut attr) }).map(|found| found.map(|_| next))
    }

    /// The value of a key, if there is one.
    pub(in crate::datapath) fn lookup(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_size];
        let key = self.checked_key(key)?.as_ptr() as u64;
        let mut attr = self.element(key, value.as_mut_ptr() as u64, 0);
        // SAFETY: the pointers are to `key_size` and `value_size` bytes that outlive the call.
        absent(unsafe { bpf(MAP_LOOKUP, &mut attr) }).map(|found| found.map(|_| value))
    }

    /// Writes an entry. `EEXIST` where only a new one was to be written.
    pub(in crate::datapath) fn update(
        &self,
        key: &[u8],
        value: &[u8],
        how: Write,
    ) -> io::Result<()> {
        if value.len() != self.value_size {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let key = self.checked_key(key)?.as_ptr() as u64;
        let mut attr = self.element(key, value.as_ptr() as u64, how as u64);
        // SAFETY: the pointers are to `key_size` and `value_size` bytes that outlive the call.
        unsafe { bpf(MAP_UPDATE, &mut attr) }.map(drop)
    }

    fn checked_key<'k>(&self, key: &'k [u8]) -> io::Result<&'k [u8]> {
        if key.len() == self.key_size {
            Ok(key)
        } else {
            Err(io::Error::from(io::ErrorKind::InvalidInput))
        }
    }

    fn element(&self, key: u64, value: u64, flags: u64) -> ElementAttr {
        ElementAttr {
            map: self.map.as_raw_fd(),
            reserved: 0,
            key,
            value,
            flags,
        }
    }
}

#[repr(C)]
struct ElementAttr {
    map: i32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn absent(result: io::Result<i32>) -> io::Result<Option<i32>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
