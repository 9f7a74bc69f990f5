//! What a free chunk keeps in the memory that nobody uses: its links, its tags, and which of its pages are dirty.
//!
//! A free chunk on a list is a [`ChunkPtr`] whose words are read here; one that is on no list is a [`FreeChunk`], which
//! cannot be copied and must be put somewhere. Every word may have been overwritten by a write after free, so what is read
//! is checked before anything is written through it.

use super::{ChunkPtr, Head, Origin, Owner, WORD};
use crate::arch::PAGE_LEN;
use crate::fatal::check;
use crate::pages::Pages;
use crate::size::{ALIGNMENT, ChunkSize, MIN_LARGE};

/// Links of a free chunk to others of its list.
impl ChunkPtr {
    /// The chunk behind this one on its list. A link that is not a chunk's address ends the process.
    #[inline]
    pub(crate) fn next_on_list(self) -> Self {
        self.link(2)
    }

    /// The chunk before this one on its list.
    #[inline]
    pub(crate) fn prev_on_list(self) -> Self {
        self.link(3)
    }

    #[inline]
    fn link(self, index: usize) -> Self {
        match self.pointer(index) {
            Some(chunk) if chunk.address().is_multiple_of(ALIGNMENT) => chunk,
            _ => crate::fatal::fatal(crate::fatal::Misuse::ListCorrupted, self.mem().addr().get()),
        }
    }

    /// Clears the two words that linked it to a list.
    #[inline]
    pub(crate) fn clear_list_links(self) {
        self.store(2, 0);
        self.store(3, 0);
    }

    /// Whether the chunk behind this one on its list is `chunk`.
    #[inline]
    pub(crate) fn leads_on_to(self, chunk: Self) -> bool {
        self.load(2) == chunk.address()
    }

    /// Whether the chunk before this one on its list is `chunk`.
    #[inline]
    pub(crate) fn leads_back_to(self, chunk: Self) -> bool {
        self.load(3) == chunk.address()
    }

    #[inline]
    pub(crate) fn set_next_on_list(self, chunk: Self) {
        self.set_pointer(2, Some(chunk));
    }

    #[inline]
    pub(crate) fn set_prev_on_list(self, chunk: Self) {
        self.set_pointer(3, Some(chunk));
    }
}

/// Where a large free chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the unsorted list.
    Unsorted,
    /// On the list of a tree node of the same size.
    BesideNode,
    /// The root of its bin's tree.
    Root,
    /// A node below this one.
    Below(ChunkPtr),
}

/// Links of a large free chunk in the size tree.
impl ChunkPtr {
    const BESIDE: usize = 1;

    pub(crate) fn child(self, side: usize) -> Option<Self> {
        let child = self.pointer(4 + side);
        if let Some(child) = child {
            check!(child.address().is_multiple_of(ALIGNMENT), TreeCorrupted, self.mem().addr().get());
        }
        child
    }

    pub(crate) fn set_child(self, side: usize, child: Option<Self>) {
        self.set_pointer(4 + side, child);
    }

    pub(crate) fn place(self) -> Place {
        match self.load(6) {
            0 => Place::Unsorted,
            Self::BESIDE => Place::BesideNode,
            address if address == self.address() => Place::Root,
            address => {
                check!(address.is_multiple_of(ALIGNMENT), TreeCorrupted, self.mem().addr().get());
                self.pointer(6).map_or(Place::Unsorted, Place::Below)
            }
        }
    }

    /// Whether it says that it is a node below `above`, or the root, where that is itself.
    #[inline]
    pub(crate) fn hangs_on(self, above: Self) -> bool {
        self.load(6) == above.address()
    }

    pub(crate) fn set_place(self, place: Place) {
        match place {
            Place::Unsorted => self.store(6, 0),
            Place::BesideNode => self.store(6, Self::BESIDE),
            Place::Root => self.set_pointer(6, Some(self)),
            Place::Below(node) => self.set_pointer(6, Some(node)),
        }
    }
}

/// Which pages of a free chunk are dirty.
impl ChunkPtr {
    /// Bytes at the front of a free chunk that may hold its tags and links, and what it knows of its pages.
    pub(crate) const LINKS_LEN: usize = 8 * WORD;
    const DIRTY: usize = 7;

    /// The whole pages of a free chunk of `size` that hold neither its links nor its footer.
    #[inline]
    pub(crate) fn pages_inside(self, size: ChunkSize) -> Pages {
        if size.get() < PAGE_LEN {
            return Pages::NONE;
        }
        Pages::between(self.address() + Self::LINKS_LEN, self.address() + size.get())
    }

    /// Records the dirty ones of the whole pages `inside`, counted from the first of these.
    fn set_dirty(self, inside: Pages, dirty: Pages) {
        if !inside.is_empty() {
            let from_first = |page: usize| (page.max(inside.first()) - inside.first()).min(u32::MAX as usize);
            self.store(Self::DIRTY, from_first(dirty.first()) | from_first(dirty.end()) << 32);
        }
    }

    /// The dirty ones of the whole pages `inside`. An end beyond what is counted means all of the rest.
    fn dirty(self, inside: Pages) -> Pages {
        if inside.is_empty() {
            return Pages::NONE;
        }
        let word = self.load(Self::DIRTY);
        let (first, end) = (word & u32::MAX as usize, word >> 32);
        let end = if end == u32::MAX as usize { inside.end() } else { inside.first() + end };
        check!(end <= inside.end(), ListCorrupted, self.mem().addr().get());
        Pages::new(inside.first() + first, end)
    }
}

/// A free chunk that is on no list: whoever holds this value must put it somewhere.
#[derive(Debug)]
#[must_use = "a free chunk that is on no list is lost"]
pub(crate) struct FreeChunk {
    chunk: ChunkPtr,
    size: ChunkSize,
    origin: Origin,
    /// Of its whole pages those that may have been touched since the system gave them.
    dirty: Pages,
}

impl FreeChunk {
    /// Free memory of `size` bytes at `chunk`, of which the caller has made sure that it is on no list; any of it may have
    /// been touched.
    #[inline]
    pub(crate) fn new(chunk: ChunkPtr, size: ChunkSize, origin: Origin) -> Self {
        Self { chunk, size, origin, dirty: chunk.pages_inside(size) }
    }

    /// The same with only the whole pages of `dirty` touched.
    #[inline]
    pub(crate) fn with_dirty(self, dirty: Pages) -> Self {
        Self { dirty: self.pages_inside().meet(dirty), ..self }
    }

    #[inline]
    pub(crate) fn chunk(&self) -> ChunkPtr {
        self.chunk
    }

    #[inline]
    pub(crate) fn size(&self) -> ChunkSize {
        self.size
    }

    #[inline]
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    #[inline]
    pub(crate) fn owner(&self) -> Owner {
        self.origin.owner()
    }

    #[inline]
    pub(crate) fn dirty(&self) -> Pages {
        self.dirty
    }

    #[inline]
    pub(crate) fn pages_inside(&self) -> Pages {
        self.chunk.pages_inside(self.size)
    }

    /// This chunk and the one right behind it as one. The pages that they share become whole, and are dirty.
    pub(crate) fn joined(self, behind: Self) -> Self {
        let whole = Self::new(self.chunk, self.size.joined(behind.size), self.origin);
        if whole.dirty.is_empty() {
            return whole;
        }
        let (all, front, back) = (whole.pages_inside(), self.pages_inside(), behind.pages_inside());
        let from = if front.is_empty() { all.first() } else { front.end() };
        let to = if back.is_empty() { all.end() } else { back.first() };
        let dirty = self.dirty.hull(Pages::new(from, to)).hull(behind.dirty);
        whole.with_dirty(dirty)
    }

    /// From which address on the first `bytes` of the chunk, and the word behind them, are zero.
    pub(crate) fn zero_from(&self, bytes: usize) -> usize {
        let (inside, end) = (self.pages_inside(), self.chunk.address() + bytes + WORD);
        if inside.is_empty() || end > inside.end_address() {
            return end;
        }
        if self.dirty.is_empty() || self.dirty.start_address() >= end {
            return inside.start_address().min(end);
        }
        self.dirty.end_address().min(end)
    }

    /// Writes head and footer, and which pages are dirty.
    #[inline]
    pub(crate) fn write_tags(&self) {
        Self::write_tags_of(self.chunk, self.size, self.origin);
        self.chunk.set_dirty(self.pages_inside(), self.dirty);
    }

    /// Writes head and footer of the free chunk at `chunk`.
    #[inline]
    pub(crate) fn write_tags_of(chunk: ChunkPtr, size: ChunkSize, origin: Origin) {
        chunk.set_free_head(size, origin);
        chunk.next(size).set_prev_size(size.get());
    }

    /// Checks the head of the free chunk at `chunk` and returns its size and where it lies. The footer, which lies in another
    /// cache line, is left alone: for a chunk that is passed by and stays where it is.
    #[inline]
    pub(crate) fn read_head(chunk: ChunkPtr) -> (ChunkSize, Origin) {
        let Some(found) = chunk.head().and_then(Head::chunk_free) else {
            crate::fatal::fatal(crate::fatal::Misuse::FreeHeadOverwritten, chunk.mem().addr().get());
        };
        found
    }

    /// Checks head and footer of the free chunk at `chunk` and returns its size and where it lies.
    #[inline]
    pub(crate) fn read_tags(chunk: ChunkPtr) -> (ChunkSize, Origin) {
        let (size, origin) = Self::read_head(chunk);
        check!(chunk.next(size).prev_size() == size.get(), FooterMismatch, chunk.mem().addr().get());
        (size, origin)
    }

    /// The free chunk at `chunk`, as its tags describe it. It is still on its list: the caller takes it off.
    #[inline]
    pub(crate) fn read(chunk: ChunkPtr) -> Self {
        let (size, origin) = Self::read_tags(chunk);
        Self::of_tags(chunk, size, origin)
    }

    /// As [`read`](Self::read), when the tags have been read.
    #[inline]
    pub(crate) fn of_tags(chunk: ChunkPtr, size: ChunkSize, origin: Origin) -> Self {
        Self { chunk, size, origin, dirty: chunk.dirty(chunk.pages_inside(size)) }
    }

    /// Clears the words that linked the chunk, so that its next user learns no addresses.
    #[inline]
    pub(crate) fn clear_links(&self) {
        self.chunk.clear_list_links();
        if self.size.get() >= MIN_LARGE {
            self.chunk.store(4, 0);
            self.chunk.store(5, 0);
            self.chunk.store(6, 0);
            self.chunk.store(ChunkPtr::DIRTY, 0);
        }
    }
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;
    use crate::chunk::tests::{Memory, chunk_in};
    use core::ptr::NonNull;

    #[test]
    fn places_in_the_tree_read_back() {
        let mut memory = Memory::ZERO;
        let chunk = chunk_in(&mut memory);
        for place in [Place::Unsorted, Place::BesideNode, Place::Root, Place::Below(chunk.at(64))] {
            chunk.set_place(place);
            assert_eq!(chunk.place(), place);
        }
    }

    #[test]
    #[should_panic(expected = "the size at the end of a free chunk differs")]
    fn a_footer_that_differs_is_found() {
        let mut memory = Memory::ZERO;
        let free = FreeChunk::new(chunk_in(&mut memory), ChunkSize::exact(64), Owner::Main.general());
        free.write_tags();
        free.chunk().at(64).set_prev_size(80);
        let _ = FreeChunk::read_tags(free.chunk());
    }

    /// A chunk of so many pages that begins with a page; nothing is read or written there.
    fn chunk_of_pages(pages: usize) -> FreeChunk {
        // SAFETY: only its address is used.
        let chunk = unsafe {
            ChunkPtr::new(NonNull::without_provenance(core::num::NonZeroUsize::new(1 << 30).expect("not 0")))
        };
        FreeChunk::new(chunk, ChunkSize::exact(pages * 4096), Owner::Main.general())
    }

    #[test]
    fn pages_that_become_whole_between_two_free_chunks_are_dirty_and_no_others() {
        let front = chunk_of_pages(4).with_dirty(Pages::NONE);
        let behind =
            FreeChunk::new(front.chunk().next(front.size()), ChunkSize::exact(3 * 4096), Owner::Main.general());
        let first = (1 << 30) / 4096;
        let joined = front.joined(behind.with_dirty(Pages::NONE));
        // The page with the tags of the chunk behind was in use as such; the first page of all still is.
        assert_eq!(joined.dirty(), Pages::new(first + 4, first + 5));
        assert_eq!(joined.pages_inside(), Pages::new(first + 1, first + 7));
    }

    #[test]
    fn memory_behind_the_dirty_pages_is_zero() {
        let free = chunk_of_pages(8);
        let (start, first) = (free.chunk().address(), free.pages_inside().first());
        let free = free.with_dirty(Pages::new(first, first + 2));
        assert_eq!(free.zero_from(5 * 4096), start + 3 * 4096);
        assert_eq!(free.zero_from(2 * 4096), start + 2 * 4096 + 8, "no further than the chunk that is cut");
        let free = free.with_dirty(Pages::NONE);
        assert_eq!(free.zero_from(5 * 4096), start + 4096, "the first page holds the links");
    }
}
