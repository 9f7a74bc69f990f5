//! A thread that only frees: it used to have no cache, since none was made before a thread's first request, so each of its
//! frees took an arena's lock. A consumer at the end of a channel is such a thread. In a process of its own, because the
//! figures of the whole heap are compared.

use std::sync::mpsc;
use std::thread;

use heapwright::Heapwright;

#[global_allocator]
static GLOBAL: Heapwright = Heapwright::new();

#[test]
fn what_a_thread_frees_that_never_allocates_waits_in_its_cache() {
    const BLOCKS: usize = 40;
    let (send_blocks, blocks) = mpsc::sync_channel::<Vec<Box<[u8; 500]>>>(1);
    let (send_done, done) = mpsc::sync_channel::<()>(1);
    let (send_end, end) = mpsc::sync_channel::<()>(1);
    let consumer = thread::spawn(move || {
        let mut vector: Vec<Box<[u8; 500]>> = blocks.recv().expect("the blocks come");
        // The boxes are freed here, the vector itself later.
        vector.clear();
        send_done.send(()).expect("somebody waits");
        end.recv().expect("the end comes");
    });
    send_blocks.send((0..BLOCKS).map(|_| Box::new([1u8; 500])).collect()).expect("somebody waits");
    let before = heapwright::stats();
    done.recv().expect("the blocks are freed");
    let after = heapwright::stats();
    // A cached block is in use for its arena.
    assert!(after.in_use + 8 * 512 > before.in_use, "{} were in use, then {}", before.in_use, after.in_use);
    send_end.send(()).expect("somebody waits");
    consumer.join().expect("no panic");
}
