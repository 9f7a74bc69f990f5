//! Runs of chunks: how they begin, grow, end and shrink.
//!
//! A run is a row of chunks without gaps: on the break, or in a heap. One run at most is being grown and ends with the
//! top; every other ends with a fence. When a run can grow no further its top is *retired*: it becomes an ordinary free
//! chunk with a fence behind it, and the arena goes on with another run. A run that ends with a fence is *reopened* when
//! there is room behind it again.
//!
//! ```text
//!   growing       | chunks ... | top                 |
//!   retired       | chunks ... | free        | fence |
//!   shortened     | chunks ... | free | fence |
//!   reopened      | chunks ... | top                         |
//! ```
//!
//! Memory goes back in these ways: a long top is cut down to the pad, with a distance between the two lengths so that a
//! program at the border does not make a system call for each block; a long free chunk before a fence is cut off in the
//! same way; and a heap in which nothing is used is given back whole, unless it is the one that is being grown and no
//! other has room, which makes it the arena's one spare.

use super::{Arena, Backing, Release};
use crate::brk::Growth;
use crate::chunk::{ChunkPtr, FENCE_LEN, FreeChunk, Origin, Owner};
use crate::fatal::check;
use crate::heap::{HeapPlan, HeapPtr};
use crate::options::Param;
use crate::os::Os;
use crate::pages::Pages;
use crate::size::{ALIGNMENT, ChunkSize, MIN_CHUNK, round_down};
use crate::source::Source;

/// A heap with less room than this part of a full one is not worth going back to while there are addresses for new ones.
const WORTH_REOPENING: usize = 16;
/// The spare heap is given back when another heap has room for this part of a full one.
const WORTH_KEEPING: usize = 4;

/// Growth.
impl Arena {
    /// Makes the top long enough for a chunk of `size`, or begins another run. `false` when the system has no more.
    #[cold]
    pub(super) fn grow<O: Os>(&mut self, source: &Source<O>, size: ChunkSize) -> bool {
        self.decide_on_regions(source);
        if self.grow_top(source, size) {
            return true;
        }
        let (Some(need), pad) = self.growth(source, size) else { return false };
        if self.top.place().is_some_and(|top| top.size.get() >= need) {
            // The break was moved by others, and a new run is there already.
            return true;
        }
        (self.top.owner() != Some(Owner::Main) && self.grow_break(source, need, pad))
            || self.reopen_heap(source, need, pad, O::HEAP_LEN / WORTH_REOPENING)
            || self.begin_heap(source, need, pad)
            || self.reopen_heap(source, need, 0, 0)
    }

    /// Makes the top long enough for a chunk of `size`. `false` when it could not be, or another run is the top now.
    pub(super) fn grow_top<O: Os>(&mut self, source: &Source<O>, size: ChunkSize) -> bool {
        let (Some(need), pad) = self.growth(source, size) else { return false };
        self.needed = need;
        let Some(top) = self.top.place() else { return false };
        match top.origin.owner() {
            Owner::Main => self.grow_break(source, need, pad) && self.top.is_at(top.chunk),
            _ => self.grow_heap::<O>(source, HeapPtr::of::<O>(top.chunk), top.chunk, need, pad).is_some_and(|heap| {
                self.top.set_end(heap.end().address());
                true
            }),
        }
    }

    /// What the top has to be long for a chunk of `size` (the top itself remains), and what more is welcome.
    fn growth<O: Os>(&self, source: &Source<O>, size: ChunkSize) -> (Option<usize>, usize) {
        (size.get().checked_add(MIN_CHUNK), source.params.growth_pad(self.counts.system))
    }

    fn count_growth(&mut self, len: usize) {
        self.counts.growths += usize::from(len > 0);
        self.counts.system += len;
        self.counts.most_system = self.counts.most_system.max(self.counts.system);
    }

    fn count_trim(&mut self, len: usize) {
        self.counts.trims += 1;
        self.counts.system -= len;
    }

    fn grow_break<O: Os>(&mut self, source: &Source<O>, need: usize, pad: usize) -> bool {
        if source.params.get(Param::Brk) == 0 {
            return false;
        }
        let is_top = self.top.owner() == Some(Owner::Main);
        let top_len = self.top.len();
        let Backing::Break(brk) = &mut self.backing else { return false };
        let have = match brk.fence() {
            Some(fence) => brk.end_address() - fence.address(),
            None if is_top => top_len,
            None => 0,
        };
        let before = brk.end_address();
        let Some(growth) = brk.grow(source, have, need, pad) else { return false };
        let (fence, end) = (brk.fence(), brk.end_address());
        match growth {
            Growth::Longer(len) => {
                self.count_growth(len);
                match fence {
                    Some(fence) => self.reopen::<O>(fence, end - len, end, Owner::Main),
                    None => self.top.set_end(end),
                }
            }
            Growth::NewRun { start, len, clean } => {
                self.count_growth(len);
                self.retire_top::<O>();
                if let Backing::Break(brk) = &mut self.backing {
                    brk.close_run(before, start);
                }
                self.top.set(start, ChunkSize::exact(len), Owner::Main.general(), clean);
            }
        }
        true
    }

    fn break_fence(&self) -> Option<ChunkPtr> {
        match &self.backing {
            Backing::Break(brk) => brk.fence(),
            Backing::Heaps => None,
        }
    }

    fn set_break_fence(&mut self, fence: Option<ChunkPtr>) {
        if let Backing::Break(brk) = &mut self.backing {
            brk.set_fence(fence);
        }
    }

    /// Goes on in the newest heap that has room for `need` and, in all, for `worth` bytes.
    fn reopen_heap<O: Os>(&mut self, source: &Source<O>, need: usize, pad: usize, worth: usize) -> bool {
        let mut next = self.heaps;
        while let Some(heap) = next {
            next = heap.next();
            let Some(fence) = heap.fence() else { continue };
            if heap.room() < need.max(worth) {
                continue;
            }
            let before = heap.end().address();
            if self.grow_heap::<O>(source, heap, fence, need, pad).is_some() {
                self.reopen::<O>(fence, before, heap.end().address(), Owner::Heap);
                return true;
            }
        }
        false
    }

    fn grow_heap<O: Os>(
        &mut self,
        source: &Source<O>,
        heap: HeapPtr,
        from: ChunkPtr,
        need: usize,
        pad: usize,
    ) -> Option<HeapPtr> {
        let before = heap.committed();
        heap.grow(source, from, need, pad).then(|| {
            self.count_growth(heap.committed() - before);
            heap
        })
    }

    fn begin_heap<O: Os>(&mut self, source: &Source<O>, need: usize, pad: usize) -> bool {
        let Some(address) = self.address else { return false };
        let Some(heap) = HeapPtr::make(source, address, HeapPlan { prefix: 0, need, pad }) else { return false };
        self.attach_heap::<O>(heap);
        true
    }

    /// Takes a new heap, and makes its run the one that grows.
    pub(crate) fn attach_heap<O: Os>(&mut self, heap: HeapPtr) {
        self.retire_top::<O>();
        heap.set_next(self.heaps);
        self.heaps = Some(heap);
        self.counts.heaps += 1;
        self.count_growth(heap.committed());
        let first = heap.first_chunk();
        self.top.set(first, ChunkSize::exact(heap.end().address() - first.address()), Owner::Heap.general(), 0);
    }

    /// Takes a heap out of the arena; it is the caller's to release.
    fn detach_heap<O: Os>(&mut self, source: &Source<O>, heap: HeapPtr) -> Release {
        if self.heaps == Some(heap) {
            self.heaps = heap.next();
        } else {
            let mut before = self.heaps;
            while let Some(newer) = before {
                if newer.next() == Some(heap) {
                    newer.set_next(heap.next());
                    break;
                }
                before = newer.next();
            }
        }
        self.counts.heaps -= 1;
        self.count_trim(heap.committed());
        Release { heap: Some(heap.retire(source)) }
    }

    /// Makes the top, if there is any, an ordinary free chunk with a fence behind it.
    fn retire_top<O: Os>(&mut self) {
        let dirty = self.top.dirty();
        let Some(top) = self.top.take() else { return };
        self.end_run::<O>(top.chunk, top.chunk.next(top.size), top.origin.owner(), dirty);
    }

    /// Ends a run whose free memory, of which `dirty` has been touched, reaches from `chunk` to `end`: a free chunk if it is
    /// long enough, and the fence.
    fn end_run<O: Os>(&mut self, chunk: ChunkPtr, end: ChunkPtr, owner: Owner, dirty: Pages) {
        let len = end.address() - chunk.address();
        let has_chunk = len >= MIN_CHUNK + FENCE_LEN;
        let fence = if has_chunk { end.before(FENCE_LEN) } else { chunk };
        fence.set_fence(owner, !has_chunk, None);
        if has_chunk {
            let size = ChunkSize::exact(len - FENCE_LEN);
            self.insert(FreeChunk::new(chunk, size, owner.general()).with_dirty(dirty));
        }
        match owner {
            Owner::Main => self.set_break_fence(Some(fence)),
            _ => HeapPtr::of::<O>(chunk).set_fence(Some(fence)),
        }
    }

    /// Makes the end of a run, from its fence to `end`, the top; the memory from `clean` on is fresh.
    fn reopen<O: Os>(&mut self, fence: ChunkPtr, clean: usize, end: usize, owner: Owner) {
        self.retire_top::<O>();
        let mut start = fence;
        let is_fence = fence.head().filter(|head| head.is_fence());
        check!(is_fence.is_some(), NextHeadOverwritten, fence.mem().addr().get());
        if is_fence.is_some_and(|head| !head.prev_in_use()) {
            start = self.take_prev::<O>(fence, owner).chunk();
            // Only now: the word behind a block in use is a head at every moment, for a free looks there without the lock.
            fence.erase_head();
        }
        match owner {
            Owner::Main => self.set_break_fence(None),
            _ => HeapPtr::of::<O>(fence).set_fence(None),
        }
        self.top.set(start, ChunkSize::exact(end - start.address()), owner.general(), clean);
    }

    /// Takes the free chunk before `chunk` out of its bin.
    pub(super) fn take_prev<O: Os>(&mut self, chunk: ChunkPtr, owner: Owner) -> FreeChunk {
        let (prev, size, origin) = self.free_before::<O>(chunk, owner);
        self.bins_of(origin.zone()).take_read(FreeChunk::of_tags(prev, size, origin))
    }

    /// The free chunk before `chunk`, as the footer there says, with what its tags say.
    pub(super) fn free_before<O: Os>(&self, chunk: ChunkPtr, owner: Owner) -> (ChunkPtr, ChunkSize, Origin) {
        let mem = chunk.mem().addr().get();
        let prev_size = chunk.prev_size();
        let lowest = match (owner, &self.backing) {
            (Owner::Main, Backing::Break(brk)) => brk.first(),
            _ => Some(HeapPtr::of::<O>(chunk).first_chunk()),
        };
        let most = lowest.map_or(0, |lowest| chunk.address() - lowest.address());
        let is_possible = prev_size >= MIN_CHUNK && prev_size.is_multiple_of(ALIGNMENT) && prev_size <= most;
        check!(is_possible, FooterMismatch, mem);
        let prev = chunk.before(prev_size);
        let (size, origin) = FreeChunk::read_tags(prev);
        check!(size.get() == prev_size, FooterMismatch, mem);
        (prev, size, origin)
    }
}

/// Shrinking.
impl Arena {
    /// Keeps a free chunk that lies at the end of a run, or gives its memory back.
    #[inline]
    pub(super) fn insert_before_fence<O: Os>(
        &mut self,
        source: &Source<O>,
        free: FreeChunk,
        fence: ChunkPtr,
    ) -> Release {
        let chunk = free.chunk();
        if free.owner() == Owner::Heap {
            let heap = HeapPtr::of::<O>(chunk);
            if heap.first_chunk() == chunk && !heap.holds_arena() {
                return self.detach_heap(source, heap);
            }
        }
        if free.size().get() < source.params.trim_trigger(self.counts.system, self.needed) {
            self.insert(free);
        } else {
            self.shorten_run(source, free, fence);
        }
        Release::NOTHING
    }

    /// Cuts a run behind the free chunk at its end, so that little of that remains.
    fn shorten_run<O: Os>(&mut self, source: &Source<O>, free: FreeChunk, fence: ChunkPtr) {
        let least = free.chunk().at(MIN_CHUNK + FENCE_LEN);
        let cut = match (free.owner(), &mut self.backing) {
            (Owner::Main, Backing::Break(brk)) if brk.fence() == Some(fence) => {
                let page = source.os.page_len();
                let len = round_down(brk.end_address().saturating_sub(least.address()), page);
                (len > 0 && brk.shrink(source, len))
                    .then(|| (len, free.chunk().at(brk.end_address() - free.chunk().address())))
            }
            (Owner::Heap, _) => {
                let heap = HeapPtr::of::<O>(free.chunk());
                let before = heap.committed();
                heap.shrink(source, least).then(|| (before - heap.committed(), heap.end()))
            }
            _ => None,
        };
        let Some((len, end)) = cut else {
            self.insert(free);
            return;
        };
        self.count_trim(len);
        self.end_run::<O>(free.chunk(), end, free.owner(), free.dirty());
    }

    /// Cuts the top down if it is longer than it may be, or gives its heap back if nothing else is in it.
    #[inline]
    pub(super) fn trim_if_long<O: Os>(&mut self, source: &Source<O>) -> Release {
        if self.top.len() < source.params.trim_trigger(self.counts.system, self.needed) {
            return Release::NOTHING;
        }
        self.trim_top(source, source.params.growth_pad(self.counts.system))
    }

    /// Cuts the top down to `pad` bytes, or gives its heap back.
    #[cold]
    fn trim_top<O: Os>(&mut self, source: &Source<O>, pad: usize) -> Release {
        let Some(top) = self.top.place() else { return Release::NOTHING };
        let keep = pad.saturating_add(MIN_CHUNK);
        match (top.origin.owner(), &mut self.backing) {
            (Owner::Main, Backing::Break(brk)) => {
                let len = round_down(top.size.get().saturating_sub(keep), source.os.page_len());
                if len > 0 && brk.shrink(source, len) {
                    let end = brk.end_address();
                    self.count_trim(len);
                    self.top.set_end(end);
                }
            }
            _ => {
                let heap = HeapPtr::of::<O>(top.chunk);
                if heap.first_chunk() == top.chunk && !heap.holds_arena() && self.has_room_besides::<O>(heap) {
                    let _ = self.top.take();
                    return self.detach_heap(source, heap);
                }
                let before = heap.committed();
                if keep < top.size.get() && heap.shrink(source, top.chunk.at(keep)) {
                    self.count_trim(before - heap.committed());
                    self.top.set_end(heap.end().address());
                }
            }
        }
        Release::NOTHING
    }

    fn has_room_besides<O: Os>(&self, heap: HeapPtr) -> bool {
        let mut next = self.heaps;
        while let Some(other) = next {
            if other != heap && other.room() >= O::HEAP_LEN / WORTH_KEEPING {
                return true;
            }
            next = other.next();
        }
        false
    }

    /// Gives back what can be cut off: the top down to `pad` bytes, and the ends of the other runs. How much that is shows
    /// in the bytes that the arena has from the system.
    pub(crate) fn trim<O: Os>(&mut self, source: &Source<O>, pad: usize) -> Release {
        self.shorten_ends(source);
        self.trim_top(source, pad)
    }

    /// Cuts every run that ends with a fence: those of heaps, and the last one of the break.
    fn shorten_ends<O: Os>(&mut self, source: &Source<O>) {
        if let Some(fence) = self.break_fence() {
            self.shorten_before(source, fence, Owner::Main);
        }
        let mut next = self.heaps;
        while let Some(heap) = next {
            next = heap.next();
            if let Some(fence) = heap.fence() {
                self.shorten_before(source, fence, Owner::Heap);
            }
        }
    }

    fn shorten_before<O: Os>(&mut self, source: &Source<O>, fence: ChunkPtr, owner: Owner) {
        if fence.head().is_some_and(|head| !head.prev_in_use()) {
            let free = self.take_prev::<O>(fence, owner);
            self.shorten_run(source, free, fence);
        }
    }
}
