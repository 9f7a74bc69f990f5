//! The heap under collections of `allocator-api2`, in a program whose global allocator is another: every block here is
//! asked for by a collection.
#![allow(unsafe_code)]

use core::alloc::Layout;
use core::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use heapwright::Global;

/// One at a time: another test's blocks would move the figures.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn collections_live_in_this_heap_and_give_all_back() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = heapwright::stats().allocated;
    {
        let mut lists: Vec<Vec<u64, Global>, Global> = Vec::new_in(Global);
        for n in 0..1000 {
            let mut list = Vec::new_in(Global);
            list.extend(0..n);
            lists.push(list);
        }
        assert!(lists.iter().enumerate().all(|(n, list)| list.iter().copied().eq(0..n as u64)));
        let boxed = Box::new_in([7u8; 300_000], Global);
        assert!(boxed.iter().all(|&byte| byte == 7));
        assert!(heapwright::stats().allocated > before + 500_000 * 8 + 300_000);
    }
    // Cached blocks may be 16 bytes longer than they count.
    assert!(heapwright::stats().allocated < before + 10_000, "{:?}", heapwright::stats());
}

#[test]
fn a_list_at_the_top_grows_where_it_is_and_shrinks_there() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut list: Vec<u8, Global> = Vec::with_capacity_in(20_000, Global);
    list.resize(20_000, 1);
    let place = list.as_ptr();
    let mut moves = 0;
    while list.len() < 110_000 {
        list.reserve_exact(1_000);
        list.resize(list.len() + 1_000, 1);
        moves += usize::from(list.as_ptr() != place);
    }
    assert_eq!(moves, 0, "nothing lies behind it");
    list.truncate(30_000);
    list.shrink_to_fit();
    assert_eq!((list.as_ptr(), list.capacity()), (place, 30_000));
    assert!(list.iter().all(|&byte| byte == 1));
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

fn fill(mem: NonNull<[u8]>, byte: u8) {
    // SAFETY: the whole of a block in use.
    unsafe { mem.cast::<u8>().write_bytes(byte, mem.len()) };
}

fn holds(mem: NonNull<[u8]>, byte: u8, range: core::ops::Range<usize>) -> bool {
    // SAFETY: the whole of a block in use, which was filled.
    let bytes = unsafe { mem.as_ref() };
    bytes[range].iter().all(|&other| other == byte)
}

#[test]
fn blocks_keep_contents_and_alignment_through_every_change() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let sizes = [0, 1, 24, 100, 1032, 1040, 8192, 9000, 70_000, 200_000, 3 << 20];
    for align in [1, 16, 64, 4096] {
        for small in sizes {
            for large in sizes.into_iter().filter(|&large| large >= small) {
                for new_align in [1, 32, 8192] {
                    let (old, new) = (layout(small, align), layout(large, new_align));
                    let mem = Global.allocate(old).expect("there is memory");
                    assert!(mem.cast::<u8>().addr().get().is_multiple_of(align));
                    fill(mem, 3);
                    // SAFETY: a block of this layout, and no shorter.
                    let mem = unsafe { Global.grow_zeroed(mem.cast(), old, new) }.expect("there is memory");
                    assert!(mem.len() >= large && mem.cast::<u8>().addr().get().is_multiple_of(new_align));
                    assert!(holds(mem, 3, 0..small) && holds(mem, 0, small..large), "{old:?} to {new:?}");
                    // SAFETY: as above, and no longer.
                    let mem = unsafe { Global.shrink(mem.cast(), new, old) }.expect("there is memory");
                    assert!(mem.cast::<u8>().addr().get().is_multiple_of(align));
                    assert!(holds(mem, 3, 0..small), "{new:?} to {old:?}");
                    // SAFETY: a block of this layout.
                    unsafe { Global.deallocate(mem.cast(), old) };
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_is_an_error_and_leaves_the_block() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let huge = layout(isize::MAX as usize - 4096, 16);
    assert!(Global.allocate(huge).is_err());
    let mem = Global.allocate(layout(100, 8)).expect("there is memory");
    fill(mem, 9);
    // SAFETY: a block of this layout, and no shorter.
    assert!(unsafe { Global.grow(mem.cast(), layout(100, 8), huge) }.is_err());
    assert!(holds(mem, 9, 0..100));
    // SAFETY: it is as it was.
    unsafe { Global.deallocate(mem.cast(), layout(100, 8)) };
}
