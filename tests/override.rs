//! Feature `override`: the C code of a Rust program shares the heap. The names of `malloc.h` in this executable are
//! ours, so the C library's own calls (here `strdup`, `getline`, `opendir`) come to us too, and a block may be allocated
//! on one side and freed on the other.
//!
//! # Safety
//!
//! C functions with arguments that their manual pages allow.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Mutex;
use std::thread;

use heapwright::Heapwright;

#[global_allocator]
static GLOBAL: Heapwright = Heapwright::new();

unsafe extern "C" {
    fn malloc_usable_size(mem: *mut c_void) -> usize;
    fn mallinfo2() -> libc::mallinfo2;
}

/// Figures of the one heap are compared in two tests, so those do not run at the same time.
static QUIET: Mutex<()> = Mutex::new(());

#[test]
fn blocks_of_the_c_library_are_ours() {
    let _quiet = QUIET.lock();
    let before = heapwright::stats();
    // SAFETY: a request of a megabyte.
    let mem = unsafe { libc::malloc(1 << 20) };
    assert!(!mem.is_null());
    let during = heapwright::stats();
    assert!(during.mapped_chunk_bytes + during.in_use >= before.mapped_chunk_bytes + before.in_use + (1 << 20));
    // SAFETY: the block made above.
    assert!(unsafe { malloc_usable_size(mem) } >= 1 << 20);
    // SAFETY: the block made above.
    unsafe { libc::free(mem) };
}

#[test]
fn what_c_allocates_rust_may_free_and_the_other_way_round() {
    // SAFETY: a string constant; the copy is 16-aligned as every block.
    let copy = unsafe { libc::strdup(c"from the C library".as_ptr()) };
    // SAFETY: a C string.
    let bytes = unsafe { CStr::from_ptr(copy) }.to_bytes_with_nul();
    // SAFETY: one heap: the string's block as a vector of exactly its bytes.
    let vector = unsafe { Vec::from_raw_parts(copy.cast::<u8>(), bytes.len(), bytes.len()) };
    assert_eq!(vector, b"from the C library\0");
    drop(vector);
    let boxed: *mut [u8; 300] = Box::into_raw(Box::new([9u8; 300]));
    // SAFETY: one heap: the box's block, freed once.
    unsafe { libc::free(boxed.cast()) };
}

#[test]
fn the_c_library_s_own_calls_come_here() {
    let _quiet = QUIET.lock();
    let path = std::env::temp_dir().join(format!("heapwright-override-{}", std::process::id()));
    std::fs::write(&path, "a line of no great length\n".repeat(10)).expect("the temporary folder can be written");
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("no zero byte");
    // SAFETY: a file that exists.
    let file = unsafe { libc::fopen(name.as_ptr(), c"r".as_ptr()) };
    assert!(!file.is_null());
    let (mut line, mut len): (*mut c_char, usize) = (ptr::null_mut(), 0);
    // SAFETY: getline allocates the buffer, by our malloc.
    assert_eq!(unsafe { libc::getline(&raw mut line, &raw mut len, file) }, 26);
    // SAFETY: the buffer that getline made: a block of ours knows how long it is.
    assert!(unsafe { malloc_usable_size(line.cast()) } >= len);
    // SAFETY: the buffer, freed once.
    unsafe { libc::free(line.cast()) };
    // SAFETY: an open stream, closed once.
    unsafe { libc::fclose(file) };
    std::fs::remove_file(&path).expect("the file is there");
}

#[test]
fn mallinfo_tells_of_this_heap() {
    let _quiet = QUIET.lock();
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(|| drop(vec![1u8; 5_000]))).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    // SAFETY: no arguments.
    let info = unsafe { mallinfo2() };
    assert_eq!(info.arena, info.uordblks + info.fordblks);
    assert!(info.arena > 0);
}
