//! A block that a script has, every byte of which is known.

use std::alloc::{GlobalAlloc as _, Layout};
use std::ptr::NonNull;
use std::slice;

use heapwright::Heapwright;

static HEAP: Heapwright = Heapwright::new();

/// How a block is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Whatever they are.
    Any,
    /// All zero.
    Zero,
}

/// A block in use.
#[derive(Debug)]
pub struct Block {
    mem: NonNull<u8>,
    layout: Layout,
    /// What every byte of it is derived from.
    seed: u8,
}

// SAFETY: a block belongs to whoever has it, in whatever thread.
unsafe impl Send for Block {}

impl Block {
    /// A new block, not written to yet, or `None` when it was refused.
    pub fn allocate(layout: Layout, contents: Contents) -> Option<Self> {
        // The trait leaves requests of nothing to the types above it.
        assert!(layout.size() > 0, "a request of nothing");
        // SAFETY: the layout is not of length 0.
        let mem = unsafe {
            match contents {
                Contents::Any => HEAP.alloc(layout),
                Contents::Zero => HEAP.alloc_zeroed(layout),
            }
        };
        NonNull::new(mem).map(|mem| Self { mem, layout, seed: 0 })
    }

    /// Its first byte.
    pub fn mem(&self) -> NonNull<u8> {
        self.mem
    }

    /// How it was asked for.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Its bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: a block in use, so many bytes long; they were written to, or the kernel's zeroes.
        unsafe { slice::from_raw_parts_mut(self.mem.as_ptr(), self.layout.size()) }
    }

    /// Panics unless it is aligned.
    pub fn assert_aligned(&self) {
        assert!(self.mem.addr().get().is_multiple_of(self.layout.align()), "{self:x?} is not aligned");
    }

    /// Writes to every byte.
    pub fn fill(&mut self, seed: u8) {
        self.seed = seed;
        self.bytes().iter_mut().enumerate().for_each(|(at, byte)| *byte = expected(seed, at));
    }

    /// Panics unless the first `len` bytes are as they were written.
    pub fn assert_kept(&mut self, len: usize) {
        let seed = self.seed;
        // Counted, because the compiler makes that faster than a search.
        let changed = self.bytes()[..len].iter().enumerate().filter(|&(at, &byte)| byte != expected(seed, at)).count();
        assert_eq!(changed, 0, "bytes of {self:x?} have changed");
    }

    /// Makes it `bytes` long. When that is refused it is as it was.
    pub fn resize(&mut self, bytes: usize) -> bool {
        assert!(bytes > 0, "a request of nothing");
        // SAFETY: a block in use, with its own layout.
        let Some(mem) = NonNull::new(unsafe { HEAP.realloc(self.mem.as_ptr(), self.layout, bytes) }) else {
            return false;
        };
        self.mem = mem;
        self.layout = Layout::from_size_align(bytes, self.layout.align()).expect("a length that was granted");
        true
    }

    /// Gives it back, by its layout as Rust does.
    pub fn free_sized(self) {
        // SAFETY: a block in use, with its own layout.
        unsafe { HEAP.dealloc(self.mem.as_ptr(), self.layout) };
    }

    /// Gives it back as C does, without a word of its length.
    pub fn free(self) {
        // SAFETY: a block in use.
        unsafe { heapwright::fuzzing::free(self.mem) };
    }
}

fn expected(seed: u8, at: usize) -> u8 {
    seed.wrapping_add(at as u8).wrapping_add((at >> 8) as u8)
}
