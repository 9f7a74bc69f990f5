//! A tree of free chunks by size, for one large bin: best fit in a bounded number of steps.
//!
//! All sizes of a bin begin with the same four bits. The tree branches on the bits that follow, from the highest down;
//! a node may have any size that belongs below the branch it hangs on, and chunks of equal size form a ring beside the
//! one node:
//!
//! ```text
//!   sizes 16384..18416 (1000 00... to 1000 11...)   root 16896
//!                                                     0 /     \ 1          fifth-highest bit
//!                                                   16640      17664 = 17664
//!                                                 0 /  \ 1    0 /
//!                                              16400   17152  17424
//! ```
//!
//! A node without children can replace any node above it, so removal is one exchange. The depth is at most the number
//! of bits, and every walk counts: a corrupted tree cannot trap a thread.

use super::ring;
use crate::chunk::{ChunkPtr, FreeChunk, Head, Place};
use crate::fatal::{Misuse, check, fatal};
use crate::size::{ChunkSize, MAX_CHUNK};

/// The root of a bin's tree.
#[derive(Debug)]
pub(super) struct Tree(Option<ChunkPtr>);

/// The bits of a size below those that its bin has in common, at the top of the word. The last bin has none in common.
fn key(size: ChunkSize, is_last: bool) -> u64 {
    let bytes = size.get() as u64;
    let common = if is_last {
        u64::from(u64::BITS - 1 - MAX_CHUNK.ilog2())
    } else {
        u64::from(bytes.leading_zeros() + 1 + super::STEP_BITS)
    };
    bytes << common
}

/// A node as a walk comes to it: by the node that it hangs on. The root hangs on itself.
#[derive(Clone, Copy)]
struct Branch {
    above: ChunkPtr,
    node: ChunkPtr,
}

impl Branch {
    /// The node's size. It has to be a free chunk, and to say that it hangs there, before anything in it is taken for a link.
    fn size(self) -> ChunkSize {
        let (size, _) = FreeChunk::read_head(self.node);
        check!(self.node.hangs_on(self.above), TreeCorrupted, self.node.mem().addr().get());
        size
    }

    fn child(self, side: usize) -> Option<Self> {
        self.node.child(side).map(|node| Self { above: self.node, node })
    }
}

fn corrupted(chunk: ChunkPtr) -> ! {
    fatal(Misuse::TreeCorrupted, chunk.mem().addr().get())
}

/// Branches of one walk: never more than there are bits.
struct Steps(u32);

impl Steps {
    fn new() -> Self {
        Self(u64::BITS)
    }

    fn count(&mut self, at: ChunkPtr) {
        match self.0.checked_sub(1) {
            Some(left) => self.0 = left,
            None => corrupted(at),
        }
    }
}

impl Tree {
    pub(super) const EMPTY: Self = Self(None);

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn trunk(&self) -> Option<Branch> {
        self.0.map(|root| Branch { above: root, node: root })
    }

    /// Any chunk of the tree.
    pub(super) fn root(&self) -> Option<ChunkPtr> {
        self.trunk().inspect(|trunk| _ = trunk.size()).map(beside)
    }

    pub(super) fn insert(&mut self, chunk: ChunkPtr, size: ChunkSize, is_last: bool) {
        let Some(mut at) = self.trunk() else {
            become_leaf(chunk, Place::Root);
            self.0 = Some(chunk);
            return;
        };
        let mut key = key(size, is_last);
        let mut steps = Steps::new();
        loop {
            if at.size() == size {
                ring::insert_before(at.node, chunk);
                chunk.set_place(Place::BesideNode);
                return;
            }
            let side = (key >> 63) as usize;
            key <<= 1;
            let Some(child) = at.child(side) else {
                at.node.set_child(side, Some(chunk));
                become_leaf(chunk, Place::Below(at.node));
                return;
            };
            steps.count(at.node);
            at = child;
        }
    }

    /// The smallest chunk of at least `size`; it stays where it is.
    pub(super) fn best_fit(&self, size: ChunkSize, is_last: bool) -> Option<ChunkPtr> {
        let mut key = key(size, is_last);
        let mut steps = Steps::new();
        let mut best = Best::default();
        // The last branch to larger sizes that the walk along the bits of `size` has passed by.
        let mut larger = None;
        let mut branch = self.trunk();
        while let Some(at) = branch {
            let found = at.size();
            if found == size {
                return Some(beside(at));
            }
            if found > size {
                best.consider(at, found);
            }
            let side = (key >> 63) as usize;
            key <<= 1;
            if side == 0 {
                larger = at.child(1).or(larger);
            }
            branch = at.child(side);
            steps.count(at.node);
        }
        best.search_smallest(larger);
        best.0.map(|(at, _)| beside(at))
    }

    /// The smallest chunk; it stays where it is.
    pub(super) fn smallest(&self) -> Option<ChunkPtr> {
        let mut best = Best::default();
        best.search_smallest(self.trunk());
        best.0.map(|(at, _)| beside(at))
    }

    /// Takes `chunk` out; its links and those that lead to it are checked first.
    pub(super) fn remove(&mut self, chunk: ChunkPtr) {
        match chunk.place() {
            Place::BesideNode => {
                let next = ring::unlink(chunk);
                // Alone, and beside another: its links were made to point at itself.
                check!(next.is_some(), ListCorrupted, chunk.mem().addr().get());
            }
            place => {
                self.check_link(place, chunk);
                let replacement = match ring::unlink(chunk) {
                    Some(equal) => Some(equal),
                    None => detach_leaf_below(chunk),
                };
                if let Some(replacement) = replacement {
                    replacement.set_place(Place::BesideNode);
                    for side in 0..2 {
                        let child = chunk.child(side);
                        replacement.set_child(side, child);
                        if let Some(child) = child {
                            check!(child.hangs_on(chunk), TreeCorrupted, child.mem().addr().get());
                            child.set_place(Place::Below(replacement));
                        }
                    }
                }
                self.set_link(place, chunk, replacement);
            }
        }
    }

    fn check_link(&self, place: Place, chunk: ChunkPtr) {
        let leads_here = match place {
            Place::Root => self.0 == Some(chunk),
            // Right before the chunk there could be none, and its own links would be taken for that one's children.
            Place::Below(node) => {
                node.head().is_some_and(Head::is_free) && (node.child(0) == Some(chunk) || node.child(1) == Some(chunk))
            }
            Place::Unsorted | Place::BesideNode => false,
        };
        check!(leads_here, TreeCorrupted, chunk.mem().addr().get());
    }

    /// Lets what led to `chunk` lead to `replacement`.
    fn set_link(&mut self, place: Place, chunk: ChunkPtr, replacement: Option<ChunkPtr>) {
        match place {
            Place::Below(node) => {
                let side = usize::from(node.child(1) == Some(chunk));
                node.set_child(side, replacement);
                if let Some(replacement) = replacement {
                    replacement.set_place(Place::Below(node));
                }
            }
            _ => {
                self.0 = replacement;
                if let Some(replacement) = replacement {
                    replacement.set_place(Place::Root);
                }
            }
        }
    }

    pub(super) fn for_each(&self, visit: &mut impl FnMut(ChunkPtr)) {
        fn below(node: ChunkPtr, depth: u32, visit: &mut impl FnMut(ChunkPtr)) {
            check!(depth <= u64::BITS, TreeCorrupted, node.mem().addr().get());
            ring::for_each_on(node, visit);
            for side in 0..2 {
                if let Some(child) = node.child(side) {
                    below(child, depth + 1, visit);
                }
            }
        }
        if let Some(root) = self.0 {
            below(root, 0, visit);
        }
    }

    /// Whether each node lies below the branches that its bits say, and hangs where it was found.
    #[cfg(any(test, fuzzing))]
    pub(super) fn assert_ordered(&self, is_last: bool) {
        fn below(at: Branch, prefix: u64, depth: u32, is_last: bool) {
            let key = key(at.size(), is_last);
            let mask = u64::MAX.checked_shl(u64::BITS - depth).unwrap_or(0);
            assert_eq!(key & mask, prefix, "I6: a size below the wrong branch");
            for side in 0..2 {
                if let Some(child) = at.child(side) {
                    below(child, prefix | (side as u64) << (63 - depth), depth + 1, is_last);
                }
            }
        }
        if let Some(trunk) = self.trunk() {
            below(trunk, 0, 0, is_last);
        }
    }
}

fn become_leaf(chunk: ChunkPtr, place: Place) {
    ring::close(chunk);
    chunk.set_child(0, None);
    chunk.set_child(1, None);
    chunk.set_place(place);
}

/// Of the chunks of a node's size the one to take: one beside it if there is any, for that leaves the tree as it is.
fn beside(at: Branch) -> ChunkPtr {
    at.node.next_on_list()
}

/// Takes some node without children out from below `node`, if there is any.
fn detach_leaf_below(node: ChunkPtr) -> Option<ChunkPtr> {
    let mut parent = node;
    let mut side = usize::from(node.child(1).is_some());
    let mut leaf = node.child(side)?;
    let mut steps = Steps::new();
    loop {
        // Before anything there is taken for a link.
        check!(leaf.hangs_on(parent), TreeCorrupted, leaf.mem().addr().get());
        let next_side = usize::from(leaf.child(1).is_some());
        let Some(child) = leaf.child(next_side) else {
            parent.set_child(side, None);
            return Some(leaf);
        };
        steps.count(leaf);
        (parent, side, leaf) = (leaf, next_side, child);
    }
}

/// The smallest fitting node seen so far, and its size.
#[derive(Default)]
struct Best(Option<(Branch, ChunkSize)>);

impl Best {
    fn consider(&mut self, at: Branch, size: ChunkSize) {
        if self.0.is_none_or(|(_, best)| size < best) {
            self.0 = Some((at, size));
        }
    }

    /// The smallest size from a branch on is on the path that always takes the smaller branch.
    fn search_smallest(&mut self, mut branch: Option<Branch>) {
        let mut steps = Steps::new();
        while let Some(at) = branch {
            self.consider(at, at.size());
            branch = at.child(0).or_else(|| at.child(1));
            steps.count(at.node);
        }
    }
}
