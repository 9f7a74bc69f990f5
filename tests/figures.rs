//! Figures in a real process: what `stats` adds up is what `walk` finds, block by block.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

use heapwright::{Chunk, ChunkState, Heapwright, Visited};

#[global_allocator]
static GLOBAL: Heapwright = Heapwright::new();

/// One at a time: another test's requests would move the figures.
static ALONE: Mutex<()> = Mutex::new(());

/// A mix of sizes, every third of which is dropped again, in `threads` threads that have ended.
fn use_the_heap(threads: usize) -> Vec<Vec<u8>> {
    let lists: Vec<_> = (0..threads)
        .map(|thread| {
            std::thread::spawn(move || {
                let mut blocks: Vec<Vec<u8>> =
                    (0..4000).map(|step| vec![1; (step * (thread + 7) * 131) % 20_000]).collect();
                let mut step = 0;
                blocks.retain(|_| {
                    step += 1;
                    step % 3 != 0
                });
                blocks
            })
        })
        .collect();
    let mut blocks: Vec<Vec<u8>> = lists.into_iter().flat_map(|list| list.join().expect("no panic")).collect();
    // Longer than the threshold can become.
    blocks.push(vec![2; 40 << 20]);
    blocks
}

#[derive(Default)]
struct Walked {
    in_use: usize,
    cached: usize,
    cached_chunks: usize,
    free: usize,
    free_chunks: usize,
    top: usize,
    arenas: usize,
    heaps: usize,
    reserved: usize,
    committed: usize,
}

fn walked() -> Walked {
    let mut walked = Walked::default();
    heapwright::walk(|visited| match visited {
        Visited::Arena(_) => walked.arenas += 1,
        Visited::Run(run) => {
            if let Some(heap) = run.heap {
                walked.heaps += 1;
                walked.reserved += heap.reserved;
                walked.committed += heap.committed;
            }
        }
        Visited::Chunk(Chunk { size, state, .. }) => match state {
            ChunkState::InUse => walked.in_use += size,
            ChunkState::Cached => {
                (walked.cached, walked.cached_chunks) = (walked.cached + size, walked.cached_chunks + 1)
            }
            ChunkState::Free => (walked.free, walked.free_chunks) = (walked.free + size, walked.free_chunks + 1),
            ChunkState::Top => walked.top += size,
            _ => unreachable!("a state that is not known"),
        },
        _ => {}
    });
    walked
}

#[test]
fn figures_are_what_a_walk_finds() {
    let _alone = ALONE.lock().expect("no panic");
    let blocks = use_the_heap(3);
    let stats = heapwright::stats();
    let walked = walked();

    assert_eq!((walked.arenas, walked.heaps), (stats.arenas, stats.heaps));
    assert_eq!(walked.reserved - walked.committed, stats.retained);
    assert_eq!((walked.free, walked.free_chunks, walked.top), (stats.free, stats.free_chunks, stats.top));
    assert_eq!(walked.in_use + walked.cached + stats.overhead, stats.in_use, "to the byte: {stats:?}");
    assert_eq!(stats.system, stats.in_use + stats.free + stats.top);
    assert_eq!(stats.allocated + stats.cached + stats.depot + stats.overhead, stats.in_use + stats.mapped_chunk_bytes);
    let longer = walked.cached - stats.cached - stats.depot;
    assert!(longer <= 16 * walked.cached_chunks, "{longer} bytes in {} blocks", walked.cached_chunks);
    assert!(stats.cached + stats.depot > 0 && stats.mapped_chunk_bytes >= 40 << 20, "{stats:?}");
    assert!(stats.allocated <= stats.active && stats.active <= stats.resident && stats.resident <= stats.mapped);

    let live: usize = blocks.iter().map(Vec::capacity).sum();
    assert!((live..live * 5 / 4).contains(&stats.allocated), "{live} bytes live: {stats:?}");
}

#[test]
fn arenas_add_up_to_the_whole() {
    let _alone = ALONE.lock().expect("no panic");
    let _blocks = use_the_heap(2);
    let mut arenas = Vec::with_capacity(64);
    arenas.extend(heapwright::arenas());
    let stats = heapwright::stats();
    assert_eq!(arenas.len(), stats.arenas);
    assert_eq!(arenas.iter().map(|arena| arena.system).sum::<usize>(), stats.system);
    assert_eq!(arenas.iter().map(|arena| arena.in_use).sum::<usize>(), stats.in_use);
    assert_eq!(arenas.iter().map(|arena| arena.growths).sum::<usize>(), stats.growths);
    assert_eq!(arenas.iter().map(|arena| arena.retained).sum::<usize>(), stats.retained);
    assert!(arenas[0].break_moves > 0 && arenas[1..].iter().all(|arena| arena.break_moves == 0), "{arenas:?}");
    assert!(arenas[1..].iter().all(|arena| arena.heaps > 0), "{arenas:?}");
    assert!(
        stats.regions > 0 && arenas.iter().map(|arena| arena.regions).sum::<usize>() == stats.regions,
        "{arenas:?}"
    );
}

#[test]
fn every_block_is_walked_once_and_where_the_program_has_it() {
    let _alone = ALONE.lock().expect("no panic");
    let blocks = use_the_heap(2);
    let mut expected: BTreeMap<usize, usize> = blocks
        .iter()
        .filter(|block| (1..100_000).contains(&block.capacity()))
        .map(|block| (block.as_ptr().addr(), block.capacity()))
        .collect();
    let mut found = Vec::with_capacity(1 << 20);
    heapwright::walk(|visited| {
        if let Visited::Chunk(Chunk { address, size, state: ChunkState::InUse, .. }) = visited {
            found.push((address, size));
        }
    });
    for (address, size) in found {
        if let Some(len) = expected.remove(&address) {
            assert!(len + 8 <= size, "{len} bytes in a chunk of {size}");
        }
    }
    assert_eq!(expected.len(), 0, "{expected:?} was not found");
}

const CHILD: &str = "HEAPWRIGHT_TEST_CHILD";

#[test]
fn a_visitor_that_allocates_ends_the_process_with_a_sentence() {
    if std::env::var_os(CHILD).is_some() {
        heapwright::walk(|_| drop(std::hint::black_box(Box::new([0u8; 100_000]))));
        return;
    }
    let name = "a_visitor_that_allocates_ends_the_process_with_a_sentence";
    let myself = std::env::current_exe().expect("this program");
    let child = Command::new(myself).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().expect("it runs");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success());
    assert!(said.contains("heapwright: the visitor of a heap walk allocated or freed memory"), "{said}");
}
