//! Backends: address and port of one endpoint of one service port. And how a row is written while packets read it: both ends of
//! that are here, [`Backend::stores`] and [`Backend::read`].

use core::mem::MaybeUninit;

use crate::addr::{Address, Endpoint, Port};
use crate::layout::map_type;

/// Whether new connections may go to a backend.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum BackendState {
    /// Selected for new connections.
    Active = 1,
    /// Serves the flows that it has, gets no new ones while an active one exists (S-22).
    Terminating = 2,
}

/// The lists that a backend may be in. Slots hold the same, but a client that stays with its backend does not look there.
pub mod list {
    /// The endpoints that are selected where those of the whole cluster are.
    pub const CLUSTER: u8 = 1;
    /// The endpoints that are selected where those of this node are.
    pub const LOCAL: u8 = 2;
}

/// How many elements an array has that there is room in for so many backends: none has id 0.
pub const fn elements(backends: u32) -> u32 {
    backends + 1
}

map_type! {
    /// Element of the arrays `backends_v4` and `backends_v6`; the index is the backend's id, a `u32` that is never 0.
    ///
    /// A backend is there if the word of its port, state and lists is not 0. What the other words of an element hold that has none
    /// means nothing.
    pub struct Backend<A> {
        address: A,
        port: u16,
        state: u8,
        lists: u8,
        epoch: u32,
        service_id: u32,
    }
}

impl<A: Address> Backend<A> {
    /// A backend in no list. `epoch` tells two users of one id apart: it differs whenever the id is given out again.
    pub fn new(endpoint: Endpoint<A>, state: BackendState, epoch: u32, service_id: u32) -> Self {
        Self {
            address: endpoint.address,
            port: endpoint.port.get(),
            state: state as u8,
            lists: 0,
            epoch,
            service_id,
        }
    }

    /// What an element of the array holds in which there never was a backend.
    pub fn none() -> Self {
        Self {
            address: A::zeroed(),
            port: 0,
            state: 0,
            lists: 0,
            epoch: 0,
            service_id: 0,
        }
    }

    /// The same backend in these lists, a set of the bits in [`list`].
    #[inline(always)]
    pub fn listed(mut self, lists: u8) -> Self {
        self.lists = lists;
        self
    }

    /// Whether new connections may go to it that choose from a list; one that serves only the flows that it has is in none.
    #[inline(always)]
    pub fn is_listed(&self, list: u8) -> bool {
        self.lists & list != 0
    }

    /// Address and port.
    #[inline(always)]
    pub fn endpoint(&self) -> Endpoint<A> {
        Endpoint {
            address: self.address,
            port: Port::new(self.port),
        }
    }

    /// The state; a number that no version wrote counts as active, for the row exists.
    #[inline(always)]
    pub fn state(&self) -> BackendState {
        if self.state == BackendState::Terminating as u8 {
            BackendState::Terminating
        } else {
            BackendState::Active
        }
    }

    /// The epoch.
    #[inline(always)]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Id of the service port that it serves.
    #[inline(always)]
    pub fn service_id(&self) -> u32 {
        self.service_id
    }
}

impl<A: Address> Backend<A> {
    /// Number of 32-bit words in a row.
    pub const WORDS: usize = size_of::<Self>() / 4;
    /// The word that says whether there is a row: port, state and lists, which are 0 together in none that is.
    pub const STATE_WORD: usize = size_of::<A>() / 4;

    /// Reads a row by its words, each of which somebody may store to meanwhile as [`Backend::stores`] and [`Backend::removal`]
    /// say. `state` is the word of the state, and `word` loads the one of another index, which must be later.
    ///
    /// The word of the state is the first that is loaded and the last that is stored, so where there is a row all of it is there.
    #[inline(always)]
    pub fn read(state: u32, mut word: impl FnMut(usize) -> u32) -> Option<Self> {
        const { assert!(size_of::<Self>().is_multiple_of(4) && align_of::<Self>().is_multiple_of(4)) };
        if state == 0 {
            return None;
        }
        let mut row = MaybeUninit::<Self>::uninit();
        let words = row.as_mut_ptr().cast::<u32>();
        let mut index = 0;
        while index < Self::WORDS {
            let value = if index == Self::STATE_WORD {
                state
            } else {
                word(index)
            };
            // SAFETY: the row consists of so many words, by the assertion.
            unsafe { words.add(index).write(value) };
            index += 1;
        }
        // SAFETY: every word was written, and any octets are a row.
        Some(unsafe { row.assume_init() })
    }

    /// The row in an element's octets.
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        if octets.len() != size_of::<Self>() {
            return None;
        }
        Self::read(word(octets, Self::STATE_WORD), |index| word(octets, index))
    }

    /// The stores that put this row into an element, as indices and values of words, in their order. In the element there is no
    /// backend, and was none for longer than anybody takes to read a row; or there is the same one with another state, in other
    /// lists or of another epoch, each of which a reader may see before or after the others.
    pub fn stores(&self) -> impl Iterator<Item = (usize, u32)>
    where
        Self: bytemuck::Pod,
    {
        (0..Self::WORDS)
            .filter(|index| *index != Self::STATE_WORD)
            .chain([Self::STATE_WORD])
            .map(|index| (index, word(bytemuck::bytes_of(self), index)))
    }

    /// The one store that removes a row. The rest of it stays for those that read it at the moment.
    pub fn removal() -> (usize, u32) {
        (Self::STATE_WORD, 0)
    }
}

fn word(octets: &[u8], index: usize) -> u32 {
    let at = index * 4;
    u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Numbered, v4, v6};

    type Store = (usize, u32);

    fn row<A: Address>(address: A, epoch: u32) -> Backend<A> {
        let endpoint = Endpoint {
            address,
            port: Port::new(8080),
        };
        Backend::new(endpoint, BackendState::Active, epoch, 7).listed(list::CLUSTER)
    }

    /// Everything that a reader may get whose loads fall between stores, wherever they do.
    fn seen<A: Address>(element: &[u32], stores: &[Store]) -> Vec<Option<Backend<A>>> {
        let mut states = vec![element.to_vec()];
        for (index, value) in stores {
            let mut next = states[states.len() - 1].clone();
            next[*index] = *value;
            states.push(next);
        }
        let mut seen = Vec::new();
        // How many stores are done at each load: no fewer than at the one before.
        let mut done = vec![0; Backend::<A>::WORDS];
        loop {
            let state = states[done[0]][Backend::<A>::STATE_WORD];
            let mut load = 0;
            let read = Backend::read(state, |index| {
                load += 1;
                states[done[load]][index]
            });
            if !seen.contains(&read) {
                seen.push(read);
            }
            let Some(last) = done.iter().rposition(|done| *done < stores.len()) else {
                return seen;
            };
            let next = done[last] + 1;
            done[last..].fill(next);
        }
    }

    /// Holds that readers of an element, while the stores are made, get each of the rows that are expected and no other.
    #[track_caller]
    fn check<A>(element: &[u32], stores: &[Store], expected: &[Option<Backend<A>>])
    where
        A: Address + core::fmt::Debug,
    {
        let seen = seen::<A>(element, stores);
        assert!(
            seen.len() == expected.len() && expected.iter().all(|row| seen.contains(row)),
            "{seen:?}"
        );
    }

    fn holding<A: Address>(row: &Backend<A>) -> Vec<u32>
    where
        Backend<A>: bytemuck::Pod,
    {
        stored(&vec![0; Backend::<A>::WORDS], row.stores())
    }

    fn stored(element: &[u32], stores: impl IntoIterator<Item = Store>) -> Vec<u32> {
        let mut element = element.to_vec();
        for (index, value) in stores {
            element[index] = value;
        }
        element
    }

    fn no_row_is_seen_by_halves<A>(one: A, another: A)
    where
        A: Address + core::fmt::Debug,
        Backend<A>: bytemuck::Pod,
    {
        let old = row(one, 1);
        let empty = vec![0; Backend::<A>::WORDS];
        let put: Vec<Store> = old.stores().collect();
        check(&empty, &put, &[None, Some(old)]);
        check(
            &holding(&old),
            &[Backend::<A>::removal()],
            &[Some(old), None],
        );

        // The id is another's: what the first one left says nothing.
        let left = stored(&holding(&old), [Backend::<A>::removal()]);
        let new = row(another, 2).listed(list::LOCAL);
        let put_again: Vec<Store> = new.stores().collect();
        check(&left, &put_again, &[None, Some(new)]);

        // The same backend: state and lists are one word, the epoch is another.
        let mut ending = old.listed(0);
        ending.state = BackendState::Terminating as u8;
        let end: Vec<Store> = ending.stores().collect();
        check(&holding(&old), &end, &[Some(old), Some(ending)]);
        let later = row(one, 2);
        let renew: Vec<Store> = later.stores().collect();
        check(&holding(&old), &renew, &[Some(old), Some(later)]);

        // What the order is for.
        let mut reversed = put_again;
        reversed.reverse();
        assert!(seen::<A>(&left, &reversed).len() > 2);
    }

    #[test]
    fn a_reader_gets_a_whole_row_or_none_whatever_is_stored_meanwhile() {
        no_row_is_seen_by_halves(v4("10.1.0.1"), v4("10.1.7.2"));
        no_row_is_seen_by_halves(v6("fd00::1"), v6("fc00:1:2:3:4:5:6:7"));
    }

    fn is_read_as_it_was_stored<A>(address: A)
    where
        A: Address + core::fmt::Debug,
        Backend<A>: bytemuck::Pod,
    {
        let row = row(address, u32::MAX);
        let element = holding(&row);
        assert_eq!(
            bytemuck::cast_slice::<_, u8>(&element),
            bytemuck::bytes_of(&row)
        );
        assert_eq!(
            Backend::from_octets(bytemuck::cast_slice(&element)),
            Some(row)
        );
    }

    #[test]
    fn a_row_is_read_as_it_was_stored() {
        is_read_as_it_was_stored(<[u8; 4]>::pod(1));
        is_read_as_it_was_stored(<[u8; 16]>::pod(1));
    }
}
