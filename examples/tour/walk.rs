//! The walk as its reader sees it: each step, the system calls that it made, and what the heap looks like after it.
//!
//! The child that takes the steps is traced. Where tracing is not permitted, its own readings before and after each step
//! have to do: the break, /proc/self/maps and `heapwright::stats()`.

use std::io;
use std::process::Stdio;

use crate::child::Role;
use crate::picture::{self, Field, Scale};
use crate::screen::{Ink, Screen, k};
use crate::steps::{BEGIN, Block, END, Reading, STEPS, Step};
use crate::trace::{self, Call, Kind};

/// What a step must do to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    BreakMoves,
    Nothing,
    Maps,
    Unmaps,
}

impl Step {
    fn name(self) -> String {
        match self {
            Self::Allocate(block) => format!("allocate {}", k(block.len())),
            Self::Free(block) => format!("free {}", k(block.len())),
        }
    }

    fn effect(self) -> Effect {
        match self {
            Self::Allocate(Block::K30) => Effect::BreakMoves,
            Self::Allocate(Block::K200) => Effect::Maps,
            Self::Free(Block::K200) => Effect::Unmaps,
            _ => Effect::Nothing,
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Allocate(Block::K30) => "the break moves, by more than asked",
            Self::Allocate(Block::K20) => "cut from the top",
            Self::Allocate(Block::K200) => "a mapping of its own: 128k or more",
            Self::Allocate(Block::K10) => "in the hole, where the 30k was",
            Self::Free(Block::K30) => "leaves a hole",
            Self::Free(Block::K10) => "joined with the hole behind it",
            Self::Free(Block::K20) => "joined with the hole and the top",
            Self::Free(Block::K200) => "unmapped at once",
        }
    }
}

/// What is known of one step.
struct Taken {
    step: Step,
    before: Reading,
    after: Reading,
    /// The memory system calls that it made, if it was traced.
    calls: Option<Vec<Call>>,
}

/// The whole walk, and how it came about.
struct Walk {
    start: Reading,
    used_up: Reading,
    taken: Vec<Taken>,
}

/// Lets the child walk and shows it. Whether every step did what it must.
pub(crate) fn show(screen: &Screen) -> io::Result<bool> {
    screen.title("1. What one thread asks of the system");
    let traced = trace::run(Role::Walk.command());
    let (output, calls) = match traced {
        Ok(trace) => {
            screen.line("A child process takes eight steps; ptrace(2) shows the memory system calls of each.");
            (trace.output, Some(trace.steps))
        }
        Err(error) => {
            screen.line(&format!("A child process takes eight steps. No ptrace(2) here ({error}):"));
            screen.line("the evidence is its break, /proc/self/maps and heapwright::stats() around each.");
            (Role::Walk.command().stderr(Stdio::inherit()).output()?.stdout, None)
        }
    };
    let walk = Walk::read(&output, calls)
        .ok_or_else(|| io::Error::other("the walking child has not finished: out of memory, or ended by a signal"))?;
    let left = k(walk.start.top);
    screen.line(&format!("Rust's start has left {left} of top, used up first so that the heap must grow."));
    screen.line("Pictures begin there, to scale, k for KiB. brk(0) only asks where the break is.");
    Ok(walk.show(screen))
}

impl Walk {
    /// Cuts what the child has written into readings, and gives each step its calls.
    fn read(mut output: &[u8], calls: Option<Vec<Vec<Call>>>) -> Option<Self> {
        let start = next_reading(&mut output)?;
        let used_up = next_reading(&mut output)?;
        let mut before = used_up;
        let mut calls = calls.map(Vec::into_iter);
        let mut taken = Vec::new();
        for step in STEPS {
            if output.split_off(..2)? != [BEGIN, END] {
                return None;
            }
            let after = next_reading(&mut output)?;
            let calls = match &mut calls {
                Some(calls) => Some(calls.next()?),
                None => None,
            };
            taken.push(Taken { step, before, after, calls });
            before = after;
        }
        Some(Self { start, used_up, taken })
    }

    fn show(&self, screen: &Screen) -> bool {
        // Where the picture begins: the last of the old top, which the first block was cut from.
        let start = self.used_up.brk - self.used_up.top;
        let end = self.taken.iter().map(|taken| taken.after.brk).max().unwrap_or(start);
        let longest = (end - start).max(self.taken.iter().map(|taken| taken.after.mapped).max().unwrap_or(0));
        let scale = Scale::new(74, longest);

        let mut all_passed = true;
        let mut living: Vec<(Block, usize)> = Vec::new();
        for taken in &self.taken {
            let mut passed = taken.has_done(taken.step.effect());
            match taken.step {
                Step::Allocate(block) => {
                    living.push((block, taken.after.block));
                    living.sort_by_key(|&(_, address)| address);
                }
                Step::Free(block) => living.retain(|&(other, _)| other != block),
            }
            if taken.step == Step::Allocate(Block::K10) {
                passed &= self.address_of(Block::K10) == self.address_of(Block::K30);
            }
            all_passed &= passed;
            let (name, evidence) = (taken.step.name(), taken.evidence());
            let meaning = screen.paint(Ink::Faint, taken.step.meaning());
            screen.line("");
            screen.line(&format!("{}{name:<13}  {evidence:<24} {meaning}", screen.sign(passed)));
            let heap = heap(&living, start, taken.after.brk);
            let mapping = mapping(&living, taken.after);
            for fields in [heap, mapping].into_iter().flatten() {
                screen.line(&format!("    {}", picture::draw(screen, scale, &fields)));
            }
        }
        if let (Some(k10), Some(k30)) = (self.address_of(Block::K10), self.address_of(Block::K30)) {
            screen.line("");
            screen.line(&format!("The 10k lay at {k10:#x}, the 30k before it at {k30:#x}."));
        }
        all_passed
    }

    fn address_of(&self, block: Block) -> Option<usize> {
        self.taken.iter().find(|taken| taken.step == Step::Allocate(block)).map(|taken| taken.after.block)
    }
}

fn next_reading(output: &mut &[u8]) -> Option<Reading> {
    let (bytes, rest) = output.split_first_chunk()?;
    *output = rest;
    Some(Reading::from_bytes(bytes))
}

impl Taken {
    /// Whether the step did this to the system, and nothing else.
    fn has_done(&self, effect: Effect) -> bool {
        let moved_up = self.after.brk > self.before.brk;
        match (&self.calls, effect) {
            (Some(calls), Effect::BreakMoves) => moved_up && calls.iter().all(|call| call.kind == Kind::Brk),
            (Some(calls), Effect::Nothing) => calls.is_empty(),
            (Some(calls), Effect::Maps) => matches!(calls[..], [Call { kind: Kind::Mmap, .. }]),
            (Some(calls), Effect::Unmaps) => matches!(calls[..], [Call { kind: Kind::Munmap, .. }]),
            (None, Effect::BreakMoves) => moved_up && self.mappings() == 0,
            (None, Effect::Nothing) => self.before.brk == self.after.brk && self.before.maps == self.after.maps,
            (None, Effect::Maps) => self.mappings() == 1 && self.before.maps != self.after.maps,
            (None, Effect::Unmaps) => self.mappings() == -1 && self.before.maps != self.after.maps,
        }
    }

    /// How many mapped blocks more there are after the step.
    fn mappings(&self) -> isize {
        self.after.mapped_blocks as isize - self.before.mapped_blocks as isize
    }

    /// What the step did, as it was seen.
    fn evidence(&self) -> String {
        let Some(calls) = &self.calls else { return self.difference() };
        if calls.is_empty() {
            return "no system call".to_owned();
        }
        let mut brk = self.before.brk;
        let calls: Vec<String> = calls.iter().map(|call| describe(call, &mut brk)).collect();
        calls.join(", ")
    }

    fn difference(&self) -> String {
        let moved = self.after.brk.abs_diff(self.before.brk);
        let mapped = self.after.mapped.abs_diff(self.before.mapped);
        if self.after.brk != self.before.brk {
            let sign = if self.after.brk > self.before.brk { '+' } else { '-' };
            format!("break {sign}{}", k(moved))
        } else if mapped != 0 {
            let sign = if self.mappings() > 0 { '+' } else { '-' };
            format!("{sign}1 mapping of {}", k(mapped))
        } else if self.before.maps == self.after.maps {
            "maps unchanged".to_owned()
        } else {
            "maps changed".to_owned()
        }
    }
}

/// A call as people would write it: `brk(+160k)`.
fn describe(call: &Call, brk: &mut usize) -> String {
    let len = |index: usize| k(call.args[index] as usize);
    let text = match call.kind {
        Kind::Brk if call.args[0] == 0 => "brk(0)".to_owned(),
        Kind::Brk => {
            let (wanted, before) = (call.args[0] as usize, *brk);
            let sign = if wanted >= before { '+' } else { '-' };
            *brk = call.result as usize;
            format!("brk({sign}{})", k(wanted.abs_diff(before)))
        }
        Kind::Mmap => format!("mmap({})", len(1)),
        Kind::Munmap => format!("munmap({})", len(1)),
        Kind::Mprotect => format!("mprotect({})", len(1)),
        Kind::Madvise => format!("madvise({})", len(1)),
        Kind::Mremap => format!("mremap({} to {})", len(1), len(2)),
    };
    if call.result < 0 { format!("{text} refused") } else { text }
}

/// The heap between two addresses: blocks, holes between them, and the top behind the last one. `None` where it has not
/// grown on the break.
fn heap(living: &[(Block, usize)], start: usize, end: usize) -> Option<Vec<Field>> {
    if start >= end {
        return None;
    }
    let mut fields = Vec::new();
    let mut at = start;
    for &(block, address) in living.iter().filter(|&&(_, address)| (start..end).contains(&address)) {
        if address - at > 16 {
            fields.push(field(at, address, &format!("free {}", k(address - at)), Ink::Hole));
        }
        at = address + block.len();
        fields.push(field(address, at, &k(block.len()), Ink::Block(block as usize)));
    }
    fields.push(field(at, end, &format!("top {}", k(end - at)), Ink::Top));
    Some(fields)
}

/// The mapping of the block that has one.
fn mapping(living: &[(Block, usize)], reading: Reading) -> Option<Vec<Field>> {
    let &(block, address) = living.iter().find(|&&(block, _)| block == Block::K200)?;
    let label = format!("{} in a mapping of {}", k(block.len()), k(reading.mapped));
    Some(vec![field(address, address + reading.mapped, &label, Ink::Block(block as usize))])
}

fn field(start: usize, end: usize, label: &str, ink: Ink) -> Field {
    Field { start, end, label: label.to_owned(), ink }
}
