//! The backends of a family: the elements of an array by their ids, read and written without a system call.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::Ordering;

use bytemuck::Pod;
use lb_common::addr::Address;
use lb_common::backend::Backend;

use super::mapped::Mapped;
use super::open::Pins;
use crate::maps::MapError;

/// `backends_v4` or `backends_v6`.
pub struct Backends<A> {
    name: &'static str,
    memory: Mapped,
    family: PhantomData<A>,
}

impl<A: Address> Backends<A>
where
    Backend<A>: Pod,
{
    /// Words from one element to the next: the kernel rounds an element up to eight bytes.
    const STRIDE: u32 = (size_of::<Backend<A>>().next_multiple_of(8) / 4) as u32;

    /// Opens the map of this name.
    pub fn open(pins: &Pins<'_>, name: &'static str) -> Result<Self, MapError> {
        Ok(Self {
            name,
            memory: pins.mapped(name)?,
            family: PhantomData,
        })
    }

    /// How many backends there is room for.
    pub fn max(&self) -> u32 {
        // No backend has id 0.
        self.elements() - 1
    }

    /// All backends, by id.
    pub fn rows(&self) -> Result<Vec<(u32, Backend<A>)>, MapError> {
        let mut rows = Vec::new();
        for id in 0..self.elements() {
            let words = self.memory.words(self.words(id)?)?;
            // Before the rest.
            let state = words[Backend::<A>::STATE_WORD].load(Ordering::Acquire);
            let row = Backend::read(state, |index| words[index].load(Ordering::Relaxed));
            rows.extend(row.map(|row| (id, row)));
        }
        Ok(rows)
    }

    /// Puts a backend where there is none, or only the same one.
    pub fn put(&mut self, id: u32, row: &Backend<A>) -> Result<(), MapError> {
        self.store(id, row.stores())
    }

    /// Removes a backend if it is there.
    pub fn remove(&mut self, id: u32) -> Result<(), MapError> {
        if id >= self.elements() {
            return Ok(());
        }
        self.store(id, [Backend::<A>::removal()])
    }

    fn store(
        &mut self,
        id: u32,
        stores: impl IntoIterator<Item = (usize, u32)>,
    ) -> Result<(), MapError> {
        let range = self.words(id)?;
        let words = self.memory.words_mut(range)?;
        for (index, value) in stores {
            // What is stored before must be seen before.
            words[index].store(value, Ordering::Release);
        }
        Ok(())
    }

    /// Where the words of a row are.
    fn words(&self, id: u32) -> Result<Range<u32>, MapError> {
        let len = self.elements();
        if id >= len {
            return Err(MapError::OutOfBounds {
                map: self.name,
                index: u64::from(id),
                len,
            });
        }
        let first = id * Self::STRIDE;
        Ok(first..first + Backend::<A>::WORDS as u32)
    }

    fn elements(&self) -> u32 {
        self.memory.elements() * 2 / Self::STRIDE
    }
}
