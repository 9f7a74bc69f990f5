//! A script of requests in a few threads: whatever is asked for, in whatever order, every block keeps its contents.
//!
//! The threads take turns, so that a script does the same each time, and hand all blocks on: any of them may free what
//! another has asked for. In the end every block is looked at and freed, and the figures must add up to nothing in use.
#![no_main]

use std::alloc::Layout;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use fuzz::block::{Block, Contents};
use fuzz::{End, in_child};
use heapwright::fuzzing::Step;
use heapwright::{Budget, Param};

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    let end = in_child(|| run(script));
    assert!(matches!(end, End::Finished), "{end:?}");
});

/// Threads beside the main one.
const THREADS: usize = 3;
/// As many blocks, and bytes in them, are in use at a time.
const MOST_BLOCKS: usize = 500;
const MOST_BYTES: usize = 4 << 20;
/// More than is ever granted, and at any alignment that is asked for a valid layout.
const IMPOSSIBLE: usize = isize::MAX as usize & !0xFFFF;

fn run(script: &[u8]) {
    let mut turn = Turn { program: Program::default(), steps: Vec::new() };
    let mut threads = [const { None }; THREADS];
    let mut current = THREADS;
    for step in Step::all(script) {
        match step.kind % 24 {
            // Another thread goes on; number `THREADS` is the main one.
            22 => {
                turn = take_turn(&mut threads, current, turn);
                current = usize::from(step.which) % (THREADS + 1);
            }
            // A thread ends. The next one of its number is a new one.
            23 => {
                turn = take_turn(&mut threads, current, turn);
                if let Some(Some(thread)) = threads.get_mut(usize::from(step.which) % THREADS).map(Option::take) {
                    thread.end();
                }
            }
            _ => turn.steps.push(step),
        }
    }
    turn = take_turn(&mut threads, current, turn);
    threads.into_iter().flatten().for_each(Thread::end);
    turn.program.end();
}

/// What is handed from thread to thread: the blocks, and what to do next.
struct Turn {
    program: Program,
    steps: Vec<Step>,
}

impl Turn {
    fn run(mut self) -> Self {
        for step in self.steps.drain(..) {
            self.program.perform(step);
        }
        self
    }
}

fn take_turn(threads: &mut [Option<Thread>; THREADS], current: usize, turn: Turn) -> Turn {
    match threads.get_mut(current) {
        Some(thread) => thread.get_or_insert_with(Thread::begin).take_turn(turn),
        None => turn.run(),
    }
}

struct Thread {
    turns: Sender<Turn>,
    done: Receiver<Turn>,
    handle: JoinHandle<()>,
}

impl Thread {
    fn begin() -> Self {
        let (turns, to_do) = channel::<Turn>();
        let (finished, done) = channel();
        let handle = thread::spawn(move || {
            for turn in to_do {
                finished.send(turn.run()).expect("the main thread waits");
            }
        });
        Self { turns, done, handle }
    }

    fn take_turn(&self, turn: Turn) -> Turn {
        self.turns.send(turn).expect("the thread waits");
        self.done.recv().expect("the thread has had its turn")
    }

    fn end(self) {
        drop(self.turns);
        self.handle.join().expect("the thread ends");
    }
}

/// What the script has so far.
#[derive(Default)]
struct Program {
    blocks: Vec<Block>,
    seed: u8,
}

impl Program {
    fn perform(&mut self, step: Step) {
        let bytes = step.bytes().max(1);
        match step.kind % 24 {
            0..=5 => self.allocate(bytes, 1 << (step.which % 5), Contents::Any),
            6 => self.allocate(bytes, 16, Contents::Zero),
            7 => self.allocate(bytes, 1 << (step.which % 22), Contents::Any),
            8 => self.allocate(bytes, 1 << (step.which % 22), Contents::Zero),
            9..=11 => self.resize(step.which, bytes),
            12..=15 => self.take(step.which).into_iter().for_each(Block::free_sized),
            16 => self.take(step.which).into_iter().for_each(Block::free),
            17 => _ = heapwright::trim(bytes),
            18 => {
                let budget = usize::from(step.amount) << 8;
                assert!(heapwright::trim_with(Budget::bytes(budget)).bytes <= budget);
            }
            19 => set(step),
            20 => self.ask_for_the_impossible(step),
            // As many small blocks as fill a magazine, or as many frees.
            _ => {
                for round in 0..step.which % 200 {
                    match step.amount & 1 {
                        0 => self.allocate(bytes % 2_000 + 1, 8, Contents::Any),
                        _ => self.take(round).into_iter().for_each(Block::free_sized),
                    }
                }
            }
        }
    }

    fn allocate(&mut self, bytes: usize, alignment: usize, contents: Contents) {
        let in_use: usize = self.blocks.iter().map(|block| block.layout().size()).sum();
        if self.blocks.len() == MOST_BLOCKS || in_use > MOST_BYTES {
            return;
        }
        let layout = Layout::from_size_align(bytes, alignment).expect("a valid layout");
        let mut block = Block::allocate(layout, contents).expect("the system has memory");
        block.assert_aligned();
        if contents == Contents::Zero {
            assert!(block.bytes().iter().all(|&byte| byte == 0), "{block:x?} is not zero");
        }
        self.seed = self.seed.wrapping_add(13);
        block.fill(self.seed);
        self.blocks.push(block);
    }

    fn take(&mut self, which: u8) -> Option<Block> {
        let len = self.blocks.len();
        let mut block = (len > 0).then(|| self.blocks.swap_remove(usize::from(which) % len))?;
        block.assert_kept(block.layout().size());
        Some(block)
    }

    fn resize(&mut self, which: u8, bytes: usize) {
        let Some(mut block) = self.take(which) else { return };
        let kept = block.layout().size().min(bytes);
        assert!(block.resize(bytes), "the system has memory");
        block.assert_aligned();
        block.assert_kept(kept);
        self.seed = self.seed.wrapping_add(13);
        block.fill(self.seed);
        self.blocks.push(block);
    }

    /// What cannot be granted is refused, and a block that was to become so long is as it was.
    fn ask_for_the_impossible(&mut self, step: Step) {
        let bytes = IMPOSSIBLE - step.bytes();
        let layout = Layout::from_size_align(bytes, 1 << (step.which % 13)).expect("a valid layout");
        let contents = if step.which & 1 == 0 { Contents::Any } else { Contents::Zero };
        assert!(Block::allocate(layout, contents).is_none(), "{bytes} bytes were granted");
        if let Some(mut block) = self.take(step.which) {
            assert!(!block.resize(bytes), "{bytes} bytes were granted");
            block.assert_kept(block.layout().size());
            self.blocks.push(block);
        }
    }

    fn end(mut self) {
        while let Some(block) = self.take(0) {
            block.free_sized();
        }
        heapwright::trim(0);
        assert_eq!(heapwright::stats().allocated, 0, "nothing is in use: {:?}", heapwright::stats());
    }
}

/// Sets a parameter to something within its limits; what is outside of them must be refused.
fn set(step: Step) {
    let effective: Vec<Param> = Param::all().filter(|param| param.has_effect()).collect();
    let param = effective[usize::from(step.which) % effective.len()];
    // It makes the order of things a matter of time.
    if matches!(param, Param::BackgroundThread | Param::PressureMs) {
        return;
    }
    let (least, most) = param.limits();
    let value = match step.amount & 3 {
        0 | 1 => step.bytes(),
        2 => param.default(),
        _ => [0, 1, most - 1, most][usize::from(step.amount >> 2 & 3)],
    };
    assert_eq!(heapwright::set(param, value).is_ok(), (least..=most).contains(&value), "{param:?} as {value}");
}
