//! The top: the free end of the run that an arena is growing.
//!
//! It is on no list, and always at least a minimal chunk long, so that its head has a place. The arena keeps a record of
//! its own of the top, and compares the head in memory with it before each use: an overflow out of the last block cannot
//! make the top seem longer. The record also knows from where on the memory has not been touched since the system gave
//! it, so that zeroed requests need not clear it:
//!
//! ```text
//!   chunk                         clean                       end of the run
//!     | head | was used before      | zero                      |
//! ```

use super::Block;
use crate::chunk::{ChunkPtr, FreeChunk, MEM_OFFSET, Origin, Owner};
use crate::fatal::check;
use crate::os::Os;
use crate::pages::Pages;
use crate::size::{ChunkSize, MIN_CHUNK};
use crate::source::Source;

/// The arena's record of its top.
#[derive(Debug)]
pub(super) struct Top(Option<Place>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) chunk: ChunkPtr,
    pub(super) size: ChunkSize,
    pub(super) origin: Origin,
    /// From this address on the memory is zero.
    clean: usize,
}

impl Top {
    /// No run is being grown.
    pub(super) const EMPTY: Self = Self(None);

    pub(super) fn len(&self) -> usize {
        self.0.map_or(0, |place| place.size.get())
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.0
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        self.0.map(|place| place.origin.owner())
    }

    /// Ends being the top, after a last look at the head.
    pub(super) fn take(&mut self) -> Option<Place> {
        self.check();
        self.0.take()
    }

    #[inline]
    pub(super) fn is_at(&self, chunk: ChunkPtr) -> bool {
        self.0.is_some_and(|place| place.chunk == chunk)
    }

    pub(super) fn set(&mut self, chunk: ChunkPtr, size: ChunkSize, origin: Origin, clean: usize) {
        chunk.set_free_head(size, origin);
        let clean = clean.max(chunk.address() + MEM_OFFSET);
        self.0 = Some(Place { chunk, size, origin, clean });
    }

    /// Whether the head in memory is the one that was written.
    #[inline]
    fn check(&self) {
        if let Some(place) = self.0 {
            let head = place.chunk.head();
            let is_own =
                head.is_some_and(|head| head.size() == Some(place.size) && head.is_free() && head.prev_in_use());
            check!(is_own, TopOverwritten, place.chunk.mem().addr().get());
        }
    }

    /// Cuts a chunk of `size` from the front, if as much as a minimal chunk remains.
    pub(super) fn carve(&mut self, size: ChunkSize) -> Option<Block> {
        let place = self.0?;
        let chunk = self.shorten_front(size)?;
        chunk.set_head(size, place.origin, true);
        let dirty = place.clean.saturating_sub(chunk.mem().addr().get()).min(size.usable());
        Some(Block { chunk, dirty })
    }

    /// Cuts a free chunk of `size` from the front, if as much as a minimal chunk remains.
    pub(super) fn cut(&mut self, size: ChunkSize) -> Option<FreeChunk> {
        let place = self.0?;
        let chunk = self.shorten_front(size)?;
        let free = FreeChunk::new(chunk, size, place.origin);
        Some(free.with_dirty(Pages::touched_between(chunk.address(), place.clean)))
    }

    /// The top without its first `size` bytes, which are the caller's.
    #[inline]
    fn shorten_front(&mut self, size: ChunkSize) -> Option<ChunkPtr> {
        let place = self.0?;
        if place.size.get() < size.get().checked_add(MIN_CHUNK)? {
            return None;
        }
        self.check();
        let rest = ChunkSize::exact(place.size.get() - size.get());
        self.set(place.chunk.next(size), rest, place.origin, place.clean);
        Some(place.chunk)
    }

    /// What has been touched of the top since the system gave it.
    pub(super) fn dirty(&self) -> Pages {
        self.0.map_or(Pages::NONE, |place| {
            place.chunk.pages_inside(place.size).meet(Pages::touched_between(0, place.clean))
        })
    }

    /// Takes in the free chunk that lies right before the top.
    pub(super) fn absorb_front(&mut self, free: FreeChunk) {
        self.check();
        if let Some(place) = self.0 {
            place.chunk.erase_head();
            self.set(free.chunk(), free.size().joined(place.size), place.origin, place.clean);
        }
    }

    /// Gives at most `most` dirty pages back, the last ones. Returns how many.
    #[allow(unsafe_code)]
    pub(super) fn purge_end<O: Os>(&mut self, source: &Source<O>, most: usize) -> usize {
        let (_, pages) = self.dirty().split_last(most);
        let Some(place) = self.0.as_mut().filter(|_| !pages.is_empty()) else { return 0 };
        let start = place.chunk.at(pages.start_address() - place.chunk.address()).start();
        // SAFETY: whole pages behind the head of the top, in which nothing is used.
        if unsafe { source.os.purge(start, pages.len()) } {
            place.clean = pages.start_address();
            pages.count()
        } else {
            0
        }
    }

    /// The run has become longer or shorter behind the top: it now ends at `end`.
    pub(super) fn set_end(&mut self, end: usize) {
        self.check();
        if let Some(place) = self.0 {
            let size = ChunkSize::exact(end - place.chunk.address());
            self.set(place.chunk, size, place.origin, place.clean.min(end));
        }
    }
}
