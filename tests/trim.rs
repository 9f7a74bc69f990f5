//! A trim by hand, in a process of its own: in a busy one other threads would use again what is about to be given back.

use heapwright::Heapwright;

#[global_allocator]
static GLOBAL: Heapwright = Heapwright::new();

#[test]
fn a_trim_gives_back_what_is_free_and_keeps_what_is_not() {
    const LEN: usize = 60_000;
    let blocks: Vec<Vec<u8>> = (0..400u32).map(|step| vec![step as u8; LEN]).collect();
    let (kept, freed): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| block[0] % 10 == 0);
    let free_bytes = freed.len() * LEN;
    drop(freed);
    let returned = heapwright::trim(0);
    assert!(returned > free_bytes * 9 / 10, "{returned} of {free_bytes} bytes went back");
    assert!(kept.iter().all(|block| block.iter().all(|&byte| byte == block[0])));
}
