//! The edges: first and last calls of a process and of a thread, fork in every place, memory refused, the break shared, misuse.
//!
//! Sizes and patterns are tested elsewhere. Here an allocator meets the moments it is not in charge of: it is called before its
//! own constructor and after main, by destructors of threads that are half gone, by fork handlers of others while it holds its
//! locks, by a child of fork that inherited them; the system refuses memory and gives it again; others move the break.
//!
//! Each test runs one mode of `tests/c/edges.c` with the library. The blocks there know their size and carry a pattern, so a block
//! handed out twice or written over is seen when it is freed. A process that hangs is killed, and fails its test.

mod harness;

use harness::{Outcome, Run, compile};

const SIGABRT: i32 = 6;

fn edge(mode: &[&str]) -> Run {
    Run::new(compile("edges.c")).args(mode).preloaded()
}

/// The mode comes to its end, and nothing else is said.
fn lives_through(mode: &[&str]) {
    let outcome = edge(mode).run().expect_success();
    assert_eq!(outcome.text(), "done\n", "{mode:?}");
}

#[test]
fn the_edge_program_runs_on_the_library() {
    Run::new(compile("edges.c")).args(["lifetime"]).bindings().run().expect_success();
}

// ---- the life of a process

#[test]
fn allocates_before_main_and_after_it() {
    lives_through(&["lifetime"]);
}

#[test]
fn ends_while_threads_allocate() {
    lives_through(&["exit-with-threads"]);
}

// ---- the life of a thread

#[test]
fn serves_destructors_of_a_thread_with_keys_made_before_the_first_malloc() {
    lives_through(&["thread-exit", "5"]);
}

#[test]
fn serves_destructors_of_a_thread_when_setting_a_key_allocates() {
    // From the 33rd key on, pthread_setspecific allocates: 40 keys are taken before the allocator can ask for one.
    lives_through(&["thread-exit", "40"]);
}

#[test]
fn serves_destructors_of_a_thread_when_no_key_is_left() {
    lives_through(&["thread-exit", "2000"]);
}

#[test]
fn two_thousand_short_threads_leave_nothing() {
    lives_through(&["short-threads"]);
}

#[test]
fn blocks_are_freed_by_other_threads_and_after_their_own_is_gone() {
    lives_through(&["handover"]);
}

#[test]
fn works_on_the_smallest_stacks() {
    lives_through(&["small-stacks"]);
}

// ---- fork

#[test]
fn fork_handlers_allocate_whenever_they_were_registered() {
    lives_through(&["fork-handlers"]);
}

#[test]
fn a_thousand_forks_of_eight_allocating_threads_hang_none() {
    let outcome = edge(&["fork-threads", "1000"]).limit(120).run().expect_success();
    assert_eq!(outcome.text(), "done\n");
}

#[test]
fn fork_in_a_signal_handler_that_interrupted_malloc_works() {
    lives_through(&["fork-in-handler", "500"]);
}

/// The child took its main thread's cache for one that was left behind, and gave it to the next thread as well.
#[test]
fn fork_in_a_signal_handler_that_interrupted_the_first_request_works() {
    let outcome = Run::new(compile("first_request.c")).preloaded().run().expect_success();
    assert_eq!(outcome.text(), "done\n");
}

#[test]
fn starts_other_programs_while_threads_allocate() {
    lives_through(&["spawn"]);
}

// ---- memory refused

#[test]
fn runs_out_of_address_space_and_recovers() {
    lives_through(&["address-limit"]);
}

/// A malloc took back what was cached where nothing else was left, and a realloc did not.
#[test]
fn a_realloc_gets_what_is_cached_where_nothing_else_is_left() {
    lives_through(&["realloc-of-cached"]);
}

#[test]
fn threads_allocate_where_no_heap_can_be_reserved() {
    lives_through(&["address-limit-threads"]);
}

#[test]
fn runs_out_of_data_and_recovers() {
    lives_through(&["data-limit"]);
}

// ---- the break

#[test]
fn goes_on_when_a_mapping_blocks_the_break() {
    lives_through(&["blocked-break"]);
}

#[test]
fn shares_the_break_with_others() {
    lives_through(&["foreign-break"]);
}

// ---- misuse

/// The process dies in its last call: by SIGABRT, after one line that names the allocator.
fn is_caught(mode: &[&str]) -> Outcome {
    let outcome = edge(mode).run();
    assert_eq!(outcome.signal(), Some(SIGABRT), "{mode:?}: {}", outcome.report());
    assert!(outcome.stdout.is_empty(), "{mode:?}: {}", outcome.report());
    let said = outcome.stderr_text();
    let one_line = said.starts_with("heapwright: ") && said.ends_with('\n') && said.lines().count() == 1;
    assert!(one_line, "{mode:?}: {}", outcome.report());
    outcome
}

#[test]
fn a_double_free_is_caught() {
    for size in ["24", "200", "5000", "100000"] {
        is_caught(&["double-free", size]);
        is_caught(&["double-free-after-others", size]);
    }
}

#[test]
fn a_free_of_an_interior_pointer_is_caught() {
    for size in ["200", "5000", "100000"] {
        is_caught(&["interior", size]);
    }
}

#[test]
fn a_free_of_a_misaligned_pointer_is_caught() {
    for offset in ["1", "8", "17"] {
        is_caught(&["misaligned", offset]);
    }
}

#[test]
fn a_free_of_memory_that_never_was_ours_is_caught() {
    is_caught(&["stack-address"]);
    is_caught(&["static-address"]);
    // Into a mapping; the second pointer is aligned to a page.
    is_caught(&["foreign-mapping", "16"]);
    is_caught(&["foreign-mapping", "8192"]);
}

#[test]
fn a_realloc_of_a_freed_block_is_caught() {
    for size in ["200", "5000"] {
        is_caught(&["realloc-of-freed", size]);
    }
}

#[test]
fn a_block_written_past_its_end_is_caught_when_its_neighbour_is_freed() {
    for size in ["24", "1000", "5000"] {
        is_caught(&["overrun", size]);
    }
}
