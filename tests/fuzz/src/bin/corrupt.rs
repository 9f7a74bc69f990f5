//! A script that overwrites words beside its blocks, and in blocks that it has freed, between requests.
//!
//! What docs/security.md promises of the default build is checked: the process ends by the allocator's own abort, after
//! one sentence, or nothing comes of it. No block is handed out that overlaps another one in use, or that lies in memory
//! which an overwritten word named. A fault is let pass only at an address that follows from a word which was overwritten.
//!
//! A word that is forged passes by chance, once in 65,536 times for a head. So a script that does break a promise is run
//! again under other secrets, and has to do so each time.
#![no_main]

use std::alloc::Layout;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, ptr, thread};

use fuzz::block::{Block, Contents};
use fuzz::{End, in_child};
use heapwright::fuzzing::Step;

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    let mut broken = String::new();
    for _ in 0..RUNS {
        let overwritten = Overwritten::shared();
        overwritten.clear();
        match judge(&in_child(|| run(script, overwritten)), overwritten) {
            Ok(()) => return,
            Err(reason) => broken.push_str(&reason),
        }
    }
    panic!("a promise is broken under {RUNS} secrets:\n{broken}");
});

/// So often a promise has to be broken. By chance all of them are once in 2^48 scripts.
const RUNS: usize = 3;
const MOST_BLOCKS: usize = 200;
/// Memory that is no block's.
static DECOY: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];

/// `Err` with what happened when no promise allows it.
fn judge(end: &End, overwritten: &Overwritten) -> Result<(), String> {
    match end {
        End::Finished => Ok(()),
        End::Aborted(said) if said.starts_with("heapwright: ") && said.lines().count() == 1 => Ok(()),
        End::Fault(address) if overwritten.explain(*address) => Ok(()),
        other => Err(format!("{other:x?} after {:x?}\n", overwritten.words().collect::<Vec<_>>())),
    }
}

/// The words that were overwritten: where, what was there, and what is there now. The parent reads them.
struct Overwritten {
    count: AtomicUsize,
    words: [[AtomicUsize; 3]; 32],
    /// Where blocks were handed out: the lowest and the highest address.
    heap: [AtomicUsize; 2],
}

impl Overwritten {
    fn shared() -> &'static Self {
        thread_local!(static SHARED: Cell<*const Overwritten> = const { Cell::new(ptr::null()) });
        let mut start = SHARED.get();
        if start.is_null() {
            let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            // SAFETY: a new mapping.
            let mapped = unsafe { libc::mmap(ptr::null_mut(), size_of::<Self>(), access, flags, -1, 0) };
            assert_ne!(mapped, libc::MAP_FAILED, "no memory for the words");
            start = mapped.cast_const().cast();
            SHARED.set(start);
        }
        // SAFETY: atomics, for which zero is a value, mapped as long as the process lives.
        unsafe { &*start }
    }

    fn clear(&self) {
        self.count.store(0, Ordering::Relaxed);
        self.heap[0].store(usize::MAX, Ordering::Relaxed);
        self.heap[1].store(0, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) == self.words.len()
    }

    fn note(&self, word: [usize; 3]) {
        let at = self.count.fetch_add(1, Ordering::Relaxed);
        self.words[at].iter().zip(word).for_each(|(place, value)| place.store(value, Ordering::Relaxed));
    }

    fn note_block(&self, block: &Block) {
        let start = block.mem().addr().get();
        self.heap[0].fetch_min(start, Ordering::Relaxed);
        self.heap[1].fetch_max(start + block.layout().size(), Ordering::Relaxed);
    }

    fn words(&self) -> impl Iterator<Item = [usize; 3]> {
        let words = &self.words[..self.count.load(Ordering::Relaxed)];
        words.iter().map(|word| word.each_ref().map(|value| value.load(Ordering::Relaxed)))
    }

    /// Whether a fault at `address` follows from a word: it was the address, a distance from its place, or a masked link,
    /// in which a change of the word is the same change of the address.
    fn explain(&self, address: Option<usize>) -> bool {
        const NEAR: usize = 4096;
        // A word may have been overwritten more than once.
        let mut changes = self.words().flat_map(|[place, old, _]| {
            self.words().filter(move |&[other, ..]| other == place).map(move |[_, _, new]| [place, old, new])
        });
        let Some(address) = address else {
            return changes.any(|[_, old, new]| new >> 47 != 0 || (old ^ new) >> 47 != 0);
        };
        // What a link led to is one of the blocks, or it was the last one and null.
        let [lowest, highest] = self.heap.each_ref().map(|end| end.load(Ordering::Relaxed));
        let heap = lowest.saturating_sub(NEAR)..highest.saturating_add(NEAR);
        changes.any(|[place, old, new]| {
            let link = address ^ old ^ new;
            // A little below zero and a little above it are near as well.
            let is_near = |at: usize| address.wrapping_sub(at).wrapping_add(NEAR) < 2 * NEAR;
            is_near(new)
                || is_near(place.wrapping_add(new))
                || is_near(place.wrapping_sub(new))
                || heap.contains(&link)
                || link < NEAR
        })
    }
}

fn run(script: &[u8], overwritten: &'static Overwritten) {
    let Some((&first, steps)) = script.split_first() else { return };
    let carry_out = |steps: &[u8]| {
        let mut program = Program { blocks: Vec::new(), freed: Vec::new(), seed: 0, overwritten };
        Step::all(steps).for_each(|step| program.perform(step));
        program.end();
    };
    if first & 1 == 0 {
        return carry_out(steps);
    }
    // The main arena is the main thread's: this one gets a heap.
    _ = Block::allocate(Layout::new::<[u8; 100]>(), Contents::Any);
    thread::scope(|scope| _ = scope.spawn(|| carry_out(steps)));
}

struct Program {
    /// Blocks in use, and whether the program has not overwritten their contents itself.
    blocks: Vec<(Block, bool)>,
    /// Where blocks were, and how long.
    freed: Vec<(usize, usize)>,
    seed: u8,
    overwritten: &'static Overwritten,
}

impl Program {
    fn perform(&mut self, step: Step) {
        let bytes = step.bytes().max(1);
        match step.kind % 24 {
            0..=4 => self.allocate(bytes, 16, Contents::Any),
            5 => self.allocate(bytes, 16, Contents::Zero),
            6 => self.allocate(bytes, 1 << (step.which % 14), Contents::Any),
            7..=9 => self.free(step.which, Block::free_sized),
            10..=12 => self.free(step.which, Block::free),
            13 => self.resize(step.which, bytes),
            14 => _ = heapwright::trim(bytes),
            // As many small blocks, or frees, as fill a magazine.
            15 => {
                for round in 0..step.which % 150 {
                    match step.amount & 1 {
                        0 => self.allocate(bytes % 2_000 + 1, 8, Contents::Any),
                        _ => self.free(round, Block::free),
                    }
                }
            }
            16 => heapwright::walk(|_| ()),
            17..=20 => self.overwrite_beside(step),
            _ => self.overwrite_freed(step),
        }
    }

    fn allocate(&mut self, bytes: usize, alignment: usize, contents: Contents) {
        if self.blocks.len() == MOST_BLOCKS {
            return;
        }
        let layout = Layout::from_size_align(bytes, alignment).expect("a valid layout");
        if let Some(block) = Block::allocate(layout, contents) {
            self.keep(block);
        }
    }

    fn keep(&mut self, mut block: Block) {
        block.assert_aligned();
        let (start, len) = (block.mem().addr().get(), block.layout().size());
        let overlaps = |at: usize, other_len: usize| start < at + other_len && at < start + len;
        let other = self.blocks.iter().find(|(other, _)| overlaps(other.mem().addr().get(), other.layout().size()));
        assert!(other.is_none(), "{block:x?} overlaps {other:x?}");
        assert!(!overlaps((&raw const DECOY).addr(), size_of_val(&DECOY)), "{block:x?} is no memory of the heap's");
        self.overwritten.note_block(&block);
        self.seed = self.seed.wrapping_add(13);
        block.fill(self.seed);
        self.blocks.push((block, true));
    }

    fn take(&mut self, which: u8) -> Option<Block> {
        let len = self.blocks.len();
        let (mut block, is_kept) = (len > 0).then(|| self.blocks.swap_remove(usize::from(which) % len))?;
        if is_kept {
            block.assert_kept(block.layout().size());
        }
        Some(block)
    }

    fn free(&mut self, which: u8, free: fn(Block)) {
        if let Some(block) = self.take(which) {
            self.freed.push((block.mem().addr().get(), block.layout().size()));
            free(block);
        }
    }

    fn resize(&mut self, which: u8, bytes: usize) {
        if let Some(mut block) = self.take(which) {
            let (start, len) = (block.mem().addr().get(), block.layout().size());
            block.resize(bytes);
            if block.mem().addr().get() != start {
                self.freed.push((start, len));
            }
            self.keep(block);
        }
    }

    /// The head of a block in use, the word before it, or one of those behind its end.
    fn overwrite_beside(&mut self, step: Step) {
        if self.blocks.is_empty() {
            return;
        }
        let (block, _) = &self.blocks[usize::from(step.which) % self.blocks.len()];
        let start = block.mem().addr().get();
        let end = (start + block.layout().size()).next_multiple_of(8);
        let places = [start - 8, start - 16, end, end + 8, end + 16, end + 24, end + 32, end + 40];
        self.overwrite(places[usize::from(step.amount & 7)] & !7, step);
    }

    /// One of the first words of a block that was freed, or of the last.
    fn overwrite_freed(&mut self, step: Step) {
        if self.freed.is_empty() {
            return;
        }
        let (start, len) = self.freed[usize::from(step.which) % self.freed.len()];
        let end = (start + len).next_multiple_of(8);
        let places = [start, start + 8, start + 16, start + 24, start + 32, start + 40, end - 8, start - 8];
        self.overwrite(places[usize::from(step.amount & 7)] & !7, step);
    }

    /// Overwrites the word at `place` if there is memory, and notes in which block in use, if any, it lies.
    fn overwrite(&mut self, place: usize, step: Step) {
        if self.overwritten.is_full() {
            return;
        }
        let Some(old) = read(place) else { return };
        let number = usize::from(step.amount >> 7);
        let other = |blocks: &[(Block, bool)]| blocks.get(number % blocks.len().max(1)).map(|(block, _)| block.mem());
        let new = match step.amount >> 3 & 15 {
            0 => 0,
            1 => usize::MAX,
            2 => number,
            3 => number << 4,
            4..=6 => old ^ 1 << (number & 63),
            7 | 8 => old.wrapping_add(number << 4),
            9 => old.wrapping_sub(number << 4),
            10 => other(&self.blocks).map_or(0, |mem| mem.addr().get()),
            11 => other(&self.blocks).map_or(0, |mem| mem.addr().get() - 16),
            12 => self.freed.get(number % self.freed.len().max(1)).map_or(0, |&(start, _)| start - 16),
            13 => (&raw const DECOY).addr() + number % 32 * 16,
            // A word of another block's head, which is sealed for its own place.
            14 => other(&self.blocks).and_then(|mem| read(mem.addr().get() - 8)).unwrap_or(0),
            _ => 0x4141_4141_4141_4141,
        };
        if new != old && write(place, new) {
            self.overwritten.note([place, old, new]);
            for (block, is_kept) in &mut self.blocks {
                let start = block.mem().addr().get();
                *is_kept &= place + 8 <= start || start + block.layout().size() <= place;
            }
        }
    }

    fn end(mut self) {
        while let Some(block) = self.take(0) {
            block.free();
        }
        heapwright::trim(0);
    }
}

/// The word at an address, if there is memory: the kernel looks.
fn read(address: usize) -> Option<usize> {
    let mut word = 0_usize;
    let (local, remote) = (iovec((&raw mut word).cast()), iovec(ptr::with_exposed_provenance_mut(address)));
    // SAFETY: reads from this process; the kernel refuses what is not there.
    let done = unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    (done == 8).then_some(word)
}

/// Writes a word, if there is memory.
fn write(address: usize, mut word: usize) -> bool {
    let (local, remote) = (iovec((&raw mut word).cast()), iovec(ptr::with_exposed_provenance_mut(address)));
    // SAFETY: writes beside a block, or in one that was freed: the mistake that this file is about.
    let done = unsafe { libc::process_vm_writev(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    let error = io::Error::last_os_error();
    assert!(done == 8 || error.raw_os_error() == Some(libc::EFAULT), "process_vm_writev: {error}");
    done == 8
}

fn iovec(start: *mut libc::c_void) -> libc::iovec {
    libc::iovec { iov_base: start, iov_len: 8 }
}
