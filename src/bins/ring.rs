//! A list of free chunks: a ring entered by its first chunk.
//!
//! ```text
//!   first --> A <--> B <--> C <--> (A)
//! ```
//!
//! Chunks join at the end and are usually taken from the front, so the one that has been free longest, and had most
//! time to grow together with its neighbours, is used first. A chunk can leave from anywhere; its links are checked
//! against those of its neighbours before anything is written through them (safe unlinking).

use crate::chunk::ChunkPtr;
use crate::fatal::check;

/// The first chunk of a ring, if it has any.
#[derive(Debug)]
pub(super) struct Ring(Option<ChunkPtr>);

impl Ring {
    pub(super) const EMPTY: Self = Self(None);

    #[inline]
    pub(super) fn first(&self) -> Option<ChunkPtr> {
        self.0
    }

    #[inline]
    pub(super) fn insert_last(&mut self, chunk: ChunkPtr) {
        match self.0 {
            None => {
                close(chunk);
                self.0 = Some(chunk);
            }
            Some(first) => insert_before(first, chunk),
        }
    }

    /// Takes `chunk` out of its ring, of which this may or may not be the entrance.
    #[inline(always)]
    pub(super) fn remove(&mut self, chunk: ChunkPtr) {
        let next = unlink(chunk);
        if self.0 == Some(chunk) {
            self.0 = next;
        } else {
            // Alone, and not where it would be entered: its links were made to point at itself.
            check!(next.is_some(), ListCorrupted, chunk.mem().addr().get());
        }
    }

    pub(super) fn for_each(&self, visit: &mut impl FnMut(ChunkPtr)) {
        if let Some(first) = self.0 {
            for_each_on(first, visit);
        }
    }
}

/// Makes `chunk` a ring of its own.
#[inline]
pub(super) fn close(chunk: ChunkPtr) {
    chunk.set_next_on_list(chunk);
    chunk.set_prev_on_list(chunk);
}

/// Joins the ring of `first` at its end.
#[inline]
pub(super) fn insert_before(first: ChunkPtr, chunk: ChunkPtr) {
    let last = first.prev_on_list();
    check!(last.leads_on_to(first), ListCorrupted, first.mem().addr().get());
    chunk.set_next_on_list(first);
    chunk.set_prev_on_list(last);
    last.set_next_on_list(chunk);
    first.set_prev_on_list(chunk);
}

/// Takes `chunk` out of its ring and returns the one behind it, or `None` when it was alone.
#[inline]
pub(super) fn unlink(chunk: ChunkPtr) -> Option<ChunkPtr> {
    let next = chunk.next_on_list();
    let prev = chunk.prev_on_list();
    let leads_back = next.leads_back_to(chunk) && prev.leads_on_to(chunk);
    check!(leads_back, ListCorrupted, chunk.mem().addr().get());
    if next == chunk {
        return None;
    }
    prev.set_next_on_list(next);
    next.set_prev_on_list(prev);
    Some(next)
}

pub(super) fn for_each_on(first: ChunkPtr, visit: &mut impl FnMut(ChunkPtr)) {
    let mut chunk = first;
    loop {
        visit(chunk);
        chunk = chunk.next_on_list();
        if chunk == first {
            return;
        }
    }
}
