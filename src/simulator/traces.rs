//! What three kinds of programs ask of an allocator, made up from a seed: the same events at each call.
//!
//! They are modelled on servers whose memory is known to grow and stay:
//!
//! ```text
//!   chunks     4 producers --buffers--> 4 consumers; small objects stay between them; 95 % of the bytes are freed
//!   metadata   rounds of short threads; what they leave in two tables is freed by later ones
//!   values     a store whose value sizes drift from phase to phase; 80 % of the keys are dropped
//! ```
//!
//! A block has a number, which is used again once it is free.

use std::collections::VecDeque;
use std::vec::Vec;

/// One step of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Begin {
        thread: usize,
    },
    /// A thread ends; another may begin under its number.
    End {
        thread: usize,
    },
    Allocate {
        thread: usize,
        block: usize,
        bytes: usize,
    },
    Free {
        thread: usize,
        block: usize,
    },
    /// Nothing happens for a while.
    Pass {
        milliseconds: u64,
    },
    /// A moment to look at the memory.
    Look(&'static str),
}

/// A program that is going on.
struct Program<'a> {
    sink: &'a mut dyn FnMut(Event),
    random: u64,
    unused: Vec<usize>,
    blocks: usize,
}

impl<'a> Program<'a> {
    fn new(seed: u64, threads: usize, sink: &'a mut dyn FnMut(Event)) -> Self {
        (0..threads).for_each(|thread| sink(Event::Begin { thread }));
        Self { sink, random: seed, unused: Vec::new(), blocks: 0 }
    }

    /// A number below `end`, by the generator splitmix64.
    fn below(&mut self, end: usize) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((u128::from(mixed ^ mixed >> 31) * end as u128) >> 64) as usize
    }

    fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    fn allocate(&mut self, thread: usize, bytes: usize) -> usize {
        let block = self.unused.pop().unwrap_or(self.blocks);
        self.blocks = self.blocks.max(block + 1);
        (self.sink)(Event::Allocate { thread, block, bytes });
        block
    }

    fn free(&mut self, thread: usize, block: usize) {
        (self.sink)(Event::Free { thread, block });
        self.unused.push(block);
    }

    fn say(&mut self, event: Event) {
        (self.sink)(event);
    }
}

const PRODUCERS: usize = 4;
const CONSUMERS: usize = 4;

/// The chunk server's state.
struct Chunks {
    /// Buffers on their way to a consumer, and whether it keeps them.
    queues: [VecDeque<(usize, bool)>; CONSUMERS],
    held: [Vec<usize>; CONSUMERS],
    /// A small block that each consumer has from its last buffer to its next.
    done: [Option<usize>; CONSUMERS],
    /// What the producers free in the end.
    pool: Vec<usize>,
}

impl Chunks {
    fn send(&mut self, program: &mut Program<'_>, producer: usize, is_kept: bool) {
        let bytes = program.between(4096, 32_768);
        let block = program.allocate(producer, bytes);
        let consumer = program.below(CONSUMERS);
        self.queues[consumer].push_back((block, is_kept));
        // A consumer comes by when some have gathered.
        if self.queues[consumer].len() > 8 + program.below(64) {
            self.drain(program, consumer);
        }
    }

    fn drain(&mut self, program: &mut Program<'_>, consumer: usize) {
        let thread = PRODUCERS + consumer;
        while let Some((block, is_kept)) = self.queues[consumer].pop_front() {
            if let Some(done) = self.done[consumer].take() {
                program.free(thread, done);
            }
            let bytes = program.between(32, 512);
            self.done[consumer] = Some(program.allocate(thread, bytes));
            if is_kept {
                self.held[consumer].push(block);
            } else {
                program.free(thread, block);
            }
        }
    }

    fn drain_all(&mut self, program: &mut Program<'_>) {
        (0..CONSUMERS).for_each(|consumer| self.drain(program, consumer));
    }

    /// Grows by `live` bytes: most of them buffers, and in the first growth one in a hundred in small objects that stay,
    /// fifteen in 64 KiB blocks of which four stay.
    fn grow(&mut self, program: &mut Program<'_>, live: usize, is_first: bool) {
        let buffers = live * 84 / 100 / 18_432;
        let (small, pool) = if is_first { (live / 100 / 272, live * 15 / 100 / 65_536) } else { (0, 0) };
        let (mut small_made, mut pool_made) = (0, 0);
        let mut contexts = [const { VecDeque::new() }; PRODUCERS];
        for i in 0..buffers {
            let producer = program.below(PRODUCERS);
            if contexts[producer].len() == 64
                && let Some(old) = contexts[producer].pop_front()
            {
                program.free(producer, old);
            }
            let bytes = program.between(32, 512);
            contexts[producer].push_back(program.allocate(producer, bytes));
            self.send(program, producer, true);
            self.send(program, producer, false);
            if small_made * buffers < small * i {
                let bytes = program.between(32, 512);
                program.allocate(producer, bytes);
                small_made += 1;
            }
            if pool_made * buffers < pool * i {
                for _ in 0..16 {
                    let block = program.allocate(producer, 65_536);
                    if pool_made * 4 % 15 >= 4 {
                        self.pool.push(block);
                    }
                    pool_made += 1;
                }
            }
        }
        for (producer, contexts) in contexts.into_iter().enumerate() {
            contexts.into_iter().for_each(|context| program.free(producer, context));
        }
        self.drain_all(program);
    }
}

/// Grows to `live` bytes, frees 95 % of them, goes on lightly for 15 seconds, grows again.
pub(crate) fn chunks(live: usize, sink: &mut dyn FnMut(Event)) {
    let mut program = Program::new(1, PRODUCERS + CONSUMERS, sink);
    let (queues, held) = ([const { VecDeque::new() }; CONSUMERS], [const { Vec::new() }; CONSUMERS]);
    let mut chunks = Chunks { queues, held, done: [None; CONSUMERS], pool: Vec::new() };
    chunks.grow(&mut program, live, true);
    program.say(Event::Look("peak"));
    for (i, block) in core::mem::take(&mut chunks.pool).into_iter().enumerate() {
        program.free(i % PRODUCERS, block);
    }
    for consumer in 0..CONSUMERS {
        for block in core::mem::take(&mut chunks.held[consumer]) {
            program.free(PRODUCERS + consumer, block);
        }
    }
    program.say(Event::Look("freed"));
    for tick in 0..1500 {
        for producer in 0..PRODUCERS {
            (0..2).for_each(|_| chunks.send(&mut program, producer, false));
        }
        chunks.drain_all(&mut program);
        program.say(Event::Pass { milliseconds: 10 });
        if tick == 99 {
            program.say(Event::Look("1 s"));
        }
    }
    program.say(Event::Look("15 s"));
    chunks.grow(&mut program, live, false);
    program.say(Event::Look("again"));
}

/// Rounds of short threads over tables of `sessions` blocks of 200 to 400 bytes and two thirds as many of 32 to 128.
pub(crate) fn metadata(sessions: usize, rounds: usize, sink: &mut dyn FnMut(Event)) {
    let threads = 50;
    // As many operations as replace a quarter of the sessions in each round.
    let operations = sessions * 5 / 6 / threads;
    let mut program = Program::new(2, 0, sink);
    let mut tables = [std::vec![None; sessions], std::vec![None; sessions * 2 / 3]];
    for round in 1..=rounds {
        (0..threads).for_each(|thread| program.say(Event::Begin { thread }));
        for _ in 0..operations * threads {
            let thread = program.below(threads);
            metadata_call(&mut program, thread);
            for (table, (share, least, most)) in tables.iter_mut().zip([(30, 200, 400), (10, 32, 128)]) {
                if program.below(100) < share {
                    let bytes = program.between(least, most);
                    let new = program.allocate(thread, bytes);
                    let place = program.below(table.len());
                    if let Some(old) = table[place].replace(new) {
                        program.free(thread, old);
                    }
                }
            }
        }
        (0..threads).for_each(|thread| program.say(Event::End { thread }));
        program.say(Event::Pass { milliseconds: 20 });
        if round == rounds / 2 {
            program.say(Event::Look("half"));
        }
    }
    program.say(Event::Look("end"));
}

/// The short-lived blocks of one call.
fn metadata_call(program: &mut Program<'_>, thread: usize) {
    let mut blocks = Vec::new();
    for (least, most) in [(64, 1024), (64, 2048), (16, 128), (16, 128), (16, 128)] {
        let bytes = program.between(least, most);
        blocks.push(program.allocate(thread, bytes));
    }
    if program.below(20) == 0 {
        let bytes = program.between(4096, 16_384);
        blocks.push(program.allocate(thread, bytes));
    }
    blocks.into_iter().rev().for_each(|block| program.free(thread, block));
}

/// One of the two halves of the store.
#[derive(Default)]
struct Shard {
    values: Vec<(usize, usize)>,
    live: usize,
}

impl Shard {
    fn drop_one(&mut self, program: &mut Program<'_>, thread: usize) {
        let (block, bytes) = self.values.swap_remove(program.below(self.values.len()));
        self.live -= bytes;
        program.free(thread, block);
    }

    /// Writes a value of about `mean` bytes, 0 for any size, and drops others as long as there are more than `cap` bytes.
    fn insert(&mut self, program: &mut Program<'_>, thread: usize, mean: usize, cap: usize) -> usize {
        let mean = if mean == 0 { 1 << program.between(4, 12) } else { mean };
        let bytes = (mean / 2 + program.below(mean)).max(16);
        self.values.push((program.allocate(thread, bytes), bytes));
        self.live += bytes;
        while self.live > cap {
            self.drop_one(program, thread);
        }
        bytes
    }
}

/// A store of `live` bytes in two threads; each phase writes twice that much.
pub(crate) fn values(live: usize, sink: &mut dyn FnMut(Event)) {
    const PHASES: [(usize, &str); 8] = [
        (32, "32 B"),
        (128, "128 B"),
        (512, "512 B"),
        (2048, "2 KiB"),
        (4096, "4 KiB"),
        (512, "512 B again"),
        (64, "64 B"),
        (0, "mixed"),
    ];
    let mut program = Program::new(3, 2, sink);
    let mut shards = [Shard::default(), Shard::default()];
    let cap = live / 2;
    for (mean, name) in PHASES {
        let mut written = [0, 0];
        while written.iter().any(|&bytes| bytes < 2 * cap) {
            // In turns of some operations each, as two threads on two cores.
            for (thread, shard) in shards.iter_mut().enumerate() {
                let mut left = 32;
                while left > 0 && written[thread] < 2 * cap {
                    written[thread] += shard.insert(&mut program, thread, mean, cap);
                    left -= 1;
                }
            }
        }
        program.say(Event::Look(name));
    }
    for (thread, shard) in shards.iter_mut().enumerate() {
        let keep = shard.values.len() / 5;
        while shard.values.len() > keep {
            shard.drop_one(&mut program, thread);
        }
    }
    program.say(Event::Look("dropped"));
    for tick in 0..1200 {
        for (thread, shard) in shards.iter_mut().enumerate() {
            for _ in 0..20 {
                shard.drop_one(&mut program, thread);
                shard.insert(&mut program, thread, 0, cap);
            }
        }
        program.say(Event::Pass { milliseconds: 10 });
        if tick == 99 {
            program.say(Event::Look("1 s"));
        }
    }
    program.say(Event::Look("12 s"));
}
