//! The steps of the walk, and the process that takes them.
//!
//! The process writes one byte before a step and one after it; between the two it makes the request and uses the memory,
//! and nothing else. Then it looks at itself and writes what it saw:
//!
//! ```text
//!   reading  < step > reading  < step > reading  ...
//! ```
//!
//! Whoever traces it knows by the two bytes which system calls are the step's. Nothing here allocates but the steps.
//!
//! # Safety
//!
//! Blocks lie on a shelf from the step that allocates them to the step that frees them, each with its layout.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::hint::black_box;
use std::process::ExitCode;
use std::ptr;

/// A block of the walk: its size in KiB, and its place on the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    K30,
    K20,
    K200,
    K10,
}

impl Block {
    pub(crate) const ALL: [Self; 4] = [Self::K30, Self::K20, Self::K200, Self::K10];

    pub(crate) const fn len(self) -> usize {
        match self {
            Self::K30 => 30 << 10,
            Self::K20 => 20 << 10,
            Self::K200 => 200 << 10,
            Self::K10 => 10 << 10,
        }
    }

    fn layout(self) -> Layout {
        Layout::array::<u8>(self.len()).expect("a small array")
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Allocate(Block),
    Free(Block),
}

/// The walk.
pub(crate) const STEPS: [Step; 8] = [
    Step::Allocate(Block::K30),
    Step::Allocate(Block::K20),
    Step::Allocate(Block::K200),
    Step::Free(Block::K30),
    Step::Allocate(Block::K10),
    Step::Free(Block::K10),
    Step::Free(Block::K20),
    Step::Free(Block::K200),
];

/// The byte before a step.
pub(crate) const BEGIN: u8 = b'<';
/// The byte after a step.
pub(crate) const END: u8 = b'>';

/// What the process sees of itself between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The address of the block that the step was about; before the first step, of none.
    pub(crate) block: usize,
    /// Where the break is.
    pub(crate) brk: usize,
    /// Bytes at the end of the heap that have not been handed out.
    pub(crate) top: usize,
    /// Blocks with a mapping of their own, and their bytes.
    pub(crate) mapped_blocks: usize,
    pub(crate) mapped: usize,
    /// A digest of /proc/self/maps: as long as it stays, no mapping has come, gone or changed.
    pub(crate) maps: usize,
}

impl Reading {
    /// Bytes of a reading as it is written.
    pub(crate) const LEN: usize = 6 * size_of::<usize>();

    /// Reads the process. Allocates nothing.
    fn take(block: usize) -> Self {
        let stats = heapwright::stats();
        Self {
            block,
            brk: current_break(),
            top: stats.main_top,
            mapped_blocks: stats.mapped_chunks,
            mapped: stats.mapped_chunk_bytes,
            maps: digest_of_maps(),
        }
    }

    fn to_bytes(self) -> [u8; Self::LEN] {
        let words = [self.block, self.brk, self.top, self.mapped_blocks, self.mapped, self.maps];
        let mut bytes = [0; Self::LEN];
        for (place, word) in bytes.chunks_exact_mut(size_of::<usize>()).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (words, _) = bytes.as_chunks::<{ size_of::<usize>() }>();
        let word = |index: usize| usize::from_ne_bytes(words[index]);
        Self { block: word(0), brk: word(1), top: word(2), mapped_blocks: word(3), mapped: word(4), maps: word(5) }
    }
}

/// Takes all steps and reports to standard output.
pub(crate) fn take_all() -> ExitCode {
    let mut shelf = [ptr::null_mut(); Block::ALL.len()];
    write(&Reading::take(0).to_bytes());
    use_up_the_top();
    write(&Reading::take(0).to_bytes());
    for step in STEPS {
        write(&[BEGIN]);
        let block = step.take(&mut shelf);
        write(&[END]);
        write(&Reading::take(block.addr()).to_bytes());
    }
    ExitCode::SUCCESS
}

impl Step {
    /// Makes the request; a block that it brings is written to from end to end. Returns the block's address.
    fn take(self, shelf: &mut [*mut u8; Block::ALL.len()]) -> *mut u8 {
        match self {
            Self::Allocate(block) => {
                // SAFETY: the layout is not empty.
                let mem = black_box(unsafe { std::alloc::alloc(block.layout()) });
                if mem.is_null() {
                    give_up();
                }
                // SAFETY: so many bytes were just allocated.
                unsafe { mem.write_bytes(0xA5, block.len()) };
                shelf[block as usize] = mem;
                mem
            }
            Self::Free(block) => {
                let mem = shelf[block as usize];
                // SAFETY: an earlier step put it on the shelf, with this layout, and no other step takes it off.
                unsafe { std::alloc::dealloc(black_box(mem), block.layout()) };
                mem
            }
        }
    }
}

/// Rust's start has made the heap grow already, by more than it needed. Takes what is left, and keeps it, so that the
/// first step finds a heap that must grow.
fn use_up_the_top() {
    /// Well below what gets a mapping of its own.
    const MOST: usize = 64 << 10;
    /// A block's head, and the smallest chunk, which stays.
    const REST: usize = 8 + 32;
    loop {
        let top = heapwright::stats().main_top;
        if top <= 2 * REST {
            return;
        }
        let layout = Layout::array::<u8>((top - REST).min(MOST)).expect("a small array");
        // SAFETY: the layout is not empty.
        let kept = black_box(unsafe { std::alloc::alloc(layout) });
        if kept.is_null() {
            give_up();
        }
    }
}

/// Ends the process without a word more: a panic would allocate.
fn give_up() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(1) }
}

fn write(bytes: &[u8]) {
    // SAFETY: reads as many bytes as the slice has. To a pipe with room for all of the walk they go as a whole.
    let written = unsafe { libc::write(libc::STDOUT_FILENO, bytes.as_ptr().cast(), bytes.len()) };
    if written != bytes.len() as isize {
        give_up();
    }
}

/// Where the break is. The C library's `sbrk` no longer knows, for heapwright has taken the break over.
fn current_break() -> usize {
    // SAFETY: brk(0) changes nothing and returns the break.
    unsafe { libc::syscall(libc::SYS_brk, 0) as usize }
}

fn digest_of_maps() -> usize {
    // SAFETY: a string that ends with a zero byte.
    let file = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    let mut digest = 0usize;
    let mut buffer = [0u8; 4096];
    loop {
        // SAFETY: writes at most as many bytes as the buffer has.
        let len = unsafe { libc::read(file, buffer.as_mut_ptr().cast(), buffer.len()) };
        let Ok(len @ 1..) = usize::try_from(len) else { break };
        for &byte in &buffer[..len] {
            digest = (digest ^ usize::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
    // SAFETY: opened above, or -1, which is refused.
    unsafe { libc::close(file) };
    digest
}
