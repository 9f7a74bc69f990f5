//! The process's secret, and the seal that it puts on heads.
//!
//! A head's high 16 bits are a checksum of the chunk's address and of the head's lasting bits, keyed by 128 random bits
//! that are drawn before the first chunk is made and never change (a fork child keeps them). The sum is a folded
//! 64 x 64-bit multiplication: unlike xor it is not linear, so that from one head that an attacker has read no other
//! can be computed. A forged or foreign word passes by chance once in 65,536 times.
//!
//! The secret is global, as little else is below the top layer: heads are read where nothing but the pointer is known. In unit tests it keeps its built-in value, so that runs repeat.

use core::sync::atomic::{AtomicU64, Ordering};

const BUILT_IN: [u64; 2] = [0xA076_1D64_78BD_642F, 0xE703_7ED1_A0B4_28DB];

static KEYS: [AtomicU64; 2] = [AtomicU64::new(BUILT_IN[0]), AtomicU64::new(BUILT_IN[1])];

/// The first key turned by half: what marks are masked with, so that a mark and a link never cancel each other out.
static MARK_KEY: AtomicU64 = AtomicU64::new(BUILT_IN[0].rotate_left(32));

/// An odd number and its inverse: what links are multiplied with in a hardened build, and read back with. A change of any bit of
/// the product becomes a change of bits all over the link. It took 2 % of the CPU time of workloads that are served by caches.
#[cfg(feature = "hardened")]
static LINK_KEYS: [AtomicU64; 2] =
    [AtomicU64::new(BUILT_IN[1].rotate_left(32) | 1), AtomicU64::new(inverse(BUILT_IN[1].rotate_left(32) | 1))];

/// The inverse of an odd number modulo 2^64. Each step doubles how many low bits are right; of an odd number itself three are.
#[cfg(feature = "hardened")]
const fn inverse(odd: u64) -> u64 {
    let (mut inverse, mut bits) = (odd, 3);
    while bits < u64::BITS {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
}

/// The bits of a head that hold its seal.
pub(crate) const SEAL_MASK: u64 = 0xFFFF << 48;

/// Sets the secret. Must be called before the first chunk is made, and not again.
#[cfg(not(test))]
pub(crate) fn set(random: [u64; 2]) {
    KEYS[0].store(random[0], Ordering::Relaxed);
    MARK_KEY.store(random[0].rotate_left(32), Ordering::Relaxed);
    // Odd and with high bits set, so that the product always mixes.
    KEYS[1].store(random[1] | 0x8000_0000_0000_0001, Ordering::Relaxed);
    #[cfg(feature = "hardened")]
    {
        let link_key = random[1].rotate_left(32) | 1;
        LINK_KEYS[0].store(link_key, Ordering::Relaxed);
        LINK_KEYS[1].store(inverse(link_key), Ordering::Relaxed);
    }
}

/// The seal of `bits` (below 2^48) at `address`, in the bits of [`SEAL_MASK`].
#[inline]
pub(crate) fn seal(address: usize, bits: u64) -> u64 {
    if cfg!(heapwright_unchecked) {
        return 0;
    }
    // Relaxed: the keys are set before any second thread can see a chunk.
    let mixed = (address as u64 >> 4) ^ bits.rotate_left(24) ^ KEYS[0].load(Ordering::Relaxed);
    let product = u128::from(mixed) * u128::from(KEYS[1].load(Ordering::Relaxed));
    ((product >> 64) as u64 ^ product as u64) & SEAL_MASK
}

/// A number that follows from `seed`, from the secret and from how often this was called.
#[cfg(feature = "hardened")]
pub(crate) fn scrambled(seed: u64) -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let calls = CALLS.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    let product =
        u128::from(seed ^ calls ^ KEYS[0].load(Ordering::Relaxed)) * u128::from(KEYS[1].load(Ordering::Relaxed));
    (product >> 64) as u64 ^ product as u64
}

/// What links of cached blocks are masked with.
#[inline(always)]
pub(crate) fn mask() -> usize {
    KEYS[0].load(Ordering::Relaxed) as usize
}

/// A masked link, as it is written.
#[inline(always)]
pub(crate) fn mixed(link: usize) -> usize {
    #[cfg(feature = "hardened")]
    let link = link.wrapping_mul(LINK_KEYS[0].load(Ordering::Relaxed) as usize);
    link
}

/// The masked link that was written as `mixed`.
#[inline(always)]
pub(crate) fn unmixed(mixed: usize) -> usize {
    #[cfg(feature = "hardened")]
    let mixed = mixed.wrapping_mul(LINK_KEYS[1].load(Ordering::Relaxed) as usize);
    mixed
}

/// What marks of cached blocks are masked with.
#[inline(always)]
pub(crate) fn mark_key() -> usize {
    MARK_KEY.load(Ordering::Relaxed) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "hardened")]
    fn a_link_is_read_back_and_one_with_a_changed_bit_leads_nowhere() {
        let link = 0x7f12_3456_7890_usize ^ mask();
        assert_eq!(unmixed(mixed(link)), link);
        let near = (0..usize::BITS).filter(|bit| (unmixed(mixed(link) ^ 1 << bit) ^ link) >> 47 == 0).count();
        assert_eq!(near, 0, "within the addresses that a process has");
    }

    #[test]
    fn a_seal_differs_by_address_and_by_size() {
        let sealed = seal(0x7000_0000, 64);
        let passing_sizes = (0..65_536u64).filter(|&units| seal(0x7000_0000, units * 16) == sealed).count();
        let passing_places = (0..65_536usize).filter(|&step| seal(0x7000_0000 + step * 16, 64) == sealed).count();
        assert!(passing_sizes <= 8 && passing_places <= 8, "{passing_sizes} sizes, {passing_places} places");
    }
}
