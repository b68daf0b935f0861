//! BPF instructions from their parts: the few that the programs of this bench consist of. An assembler from a crate would read text
//! and bring a whole instruction set, an interpreter mostly; a compiler would need an object of its own beside the agent's.
//!
//! An instruction is a word: from the lowest bits up, eight of operation, four each of destination and source, 16 of offset, 32
//! of immediate value (`Documentation/bpf/standardization/instruction-set.rst`).

/// A register; its number is the kernel's. A helper takes `R1` to `R5`, returns in `R0`, and leaves `R6` to `R9` alone.
#[derive(Debug, Clone, Copy)]
pub enum Register {
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    R5 = 5,
    R6 = 6,
    /// The end of the stack.
    R10 = 10,
}

/// A helper of the kernel; the number is its (`enum bpf_func_id`).
#[derive(Debug, Clone, Copy)]
pub enum Helper {
    MapLookupElem = 1,
    L4CsumReplace = 11,
    TailCall = 12,
    Jiffies64 = 118,
    RedirectPeer = 155,
    CheckMtu = 163,
}

/// Width of an access to memory.
#[derive(Debug, Clone, Copy)]
pub enum Width {
    /// 32 bits.
    W = 0x00,
    /// 64 bits.
    Dw = 0x18,
}

use Register::R0;

/// Instructions, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Code(Vec<u64>);

impl Code {
    /// The words.
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// `to = value`, with its sign.
    pub fn set(self, to: Register, value: i32) -> Self {
        self.with(0xb7, to, R0, 0, value)
    }

    /// `to = from`.
    pub fn copy(self, to: Register, from: Register) -> Self {
        self.with(0xbf, to, from, 0, 0)
    }

    /// `to += value`.
    pub fn add(self, to: Register, value: i32) -> Self {
        self.with(0x07, to, R0, 0, value)
    }

    /// `to = *(from + offset)`.
    pub fn load(self, width: Width, to: Register, from: Register, offset: i16) -> Self {
        self.with(0x61 | width as u8, to, from, offset, 0)
    }

    /// `*(to + offset) = from`.
    pub fn store(self, width: Width, to: Register, offset: i16, from: Register) -> Self {
        self.with(0x63 | width as u8, to, from, offset, 0)
    }

    /// Leaves out so many instructions where `one < value`, without signs.
    pub fn skip_if_below(self, one: Register, value: u32, instructions: i16) -> Self {
        self.with(0xa5, one, R0, instructions, value as i32)
    }

    /// Leaves out so many instructions where `one != 0`.
    pub fn skip_unless_zero(self, one: Register, instructions: i16) -> Self {
        self.with(0x55, one, R0, instructions, 0)
    }

    /// Leaves out so many instructions where `one <= other`, without signs.
    pub fn skip_unless_above(self, one: Register, other: Register, instructions: i16) -> Self {
        self.with(0xbd, one, other, instructions, 0)
    }

    /// `to` becomes a map, by its descriptor. These are two words.
    pub fn map(self, to: Register, descriptor: i32) -> Self {
        self.with_wide(1, to, descriptor)
    }

    /// `to` becomes the address of the one value of an array, by its descriptor. These are two words.
    pub fn value_of_map(self, to: Register, descriptor: i32) -> Self {
        self.with_wide(2, to, descriptor)
    }

    /// Calls a helper.
    pub fn call(self, helper: Helper) -> Self {
        self.with(0x85, R0, R0, 0, helper as i32)
    }

    /// Ends with this result. These are two words.
    pub fn end(self, result: i32) -> Self {
        self.set(R0, result).with(0x95, R0, R0, 0, 0)
    }

    fn with(
        mut self,
        operation: u8,
        to: Register,
        from: Register,
        offset: i16,
        value: i32,
    ) -> Self {
        self.0.push(
            u64::from(operation)
                | (to as u64) << 8
                | (from as u64) << 12
                | u64::from(offset as u16) << 16
                | u64::from(value as u32) << 32,
        );
        self
    }

    /// A load of 64 bits, which `what` says how to read.
    fn with_wide(mut self, what: u64, to: Register, value: i32) -> Self {
        self = self.with(0x18, to, R0, 0, value);
        if let Some(first) = self.0.last_mut() {
            *first |= what << 12;
        }
        self.0.push(0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Register::{R1, R2, R10};

    #[test]
    fn instructions_are_those_of_the_kernels_document() {
        let code = Code::default()
            .copy(R2, R10)
            .add(R2, -4)
            .load(Width::W, R1, R2, 0)
            .store(Width::Dw, R10, -8, R1)
            .skip_if_below(R1, 7, 2)
            .map(R1, 5)
            .value_of_map(R1, 5)
            .call(Helper::TailCall)
            .end(-1);
        let expected = [
            0x0000_0000_0000_a2bf,
            0xffff_fffc_0000_0207,
            0x0000_0000_0000_2161,
            0x0000_0000_fff8_1a7b,
            0x0000_0007_0002_01a5,
            0x0000_0005_0000_1118,
            0,
            0x0000_0005_0000_2118,
            0,
            0x0000_000c_0000_0085,
            0xffff_ffff_0000_00b7,
            0x0000_0000_0000_0095,
        ];
        assert_eq!(code.words(), expected);
    }
}
