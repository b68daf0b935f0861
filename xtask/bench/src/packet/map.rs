//! Maps that the programs of this bench read.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};

use crate::bpf::program::Program;
use crate::bpf::{self, Command, CreateMap, Element};

/// `BPF_MAP_TYPE_HASH`, `BPF_MAP_TYPE_ARRAY` and `BPF_MAP_TYPE_PROG_ARRAY` of `enum bpf_map_type`.
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PROGRAMS: u32 = 3;

/// An array or a hash, for as long as the value lives. Its keys are numbers of 32 bits.
pub struct Map {
    descriptor: OwnedFd,
    value_size: usize,
}

impl Map {
    /// So many values of so many octets, all zero.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn array(value_size: usize, entries: u32) -> Result<Self> {
        Self::create(ARRAY, value_size, entries)
    }

    /// Room for so many values of so many octets.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn hash(value_size: usize, entries: u32) -> Result<Self> {
        Self::create(HASH, value_size, entries)
    }

    /// Room for one program to go on with.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn programs() -> Result<Self> {
        Self::create(PROGRAMS, size_of::<u32>(), 1)
    }

    /// Its descriptor, for instructions that name it.
    pub fn descriptor(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }

    /// Writes a value.
    ///
    /// # Errors
    /// If the kernel refuses it, and where the value has another size.
    pub fn put(&self, index: u32, value: &[u8]) -> Result<()> {
        ensure!(value.len() == self.value_size, "a value of another size");
        let mut attributes = Element {
            map: self.descriptor() as u32,
            key: &raw const index as u64,
            value: value.as_ptr() as u64,
            ..Element::default()
        };
        // SAFETY: the key has four octets and the value those of the map's values; both outlive the call.
        unsafe { bpf::call(Command::MapUpdateElem, &mut attributes) }
            .context("write an element of a map")?;
        Ok(())
    }

    /// Reads a number, where the values are such.
    ///
    /// # Errors
    /// If the kernel refuses it, and where the values have another size.
    pub fn number(&self, index: u32) -> Result<u32> {
        let mut number = 0_u32;
        ensure!(
            self.value_size == size_of_val(&number),
            "values of another size"
        );
        let mut attributes = Element {
            map: self.descriptor() as u32,
            key: &raw const index as u64,
            value: &raw mut number as u64,
            ..Element::default()
        };
        // SAFETY: the key has four octets and so has the number, as have the map's values; both outlive the call.
        unsafe { bpf::call(Command::MapLookupElem, &mut attributes) }
            .context("read an element of a map")?;
        Ok(number)
    }

    /// Writes the one program of [`Map::programs`].
    ///
    /// # Errors
    /// If the kernel refuses it: a program that goes on with another must be one of its kind.
    pub fn put_program(&self, program: &Program) -> Result<()> {
        self.put(0, &program.descriptor().to_ne_bytes())
            .context("a program to go on with")
    }

    fn create(kind: u32, value_size: usize, entries: u32) -> Result<Self> {
        let mut attributes = CreateMap {
            kind,
            key_size: size_of::<u32>() as u32,
            value_size: value_size as u32,
            max_entries: entries,
        };
        // SAFETY: the attributes point to nothing, and the command returns a descriptor.
        let descriptor = unsafe { bpf::call_for_descriptor(Command::MapCreate, &mut attributes) };
        Ok(Self {
            descriptor: descriptor.context("make a map")?,
            value_size,
        })
    }
}
