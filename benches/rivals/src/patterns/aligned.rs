//! Aligned requests.
//!
//! Cache lines, vectors of a SIMD unit, sectors and pages: blocks aligned to 32 bytes up to 4 KiB among plain ones, in a
//! window with random replacement.

use std::hint::black_box;

use crate::block::Block;
use crate::checksum::Checksum;
use crate::scale::Scale;
use crate::sizes::Sizes;
use crate::supply::Supply;

const WINDOW: usize = 1_000;
const STEPS: usize = 3_000_000;

/// One unit of memory as its alignment wants it.
macro_rules! units {
    ($($name:ident $align:literal),*) => {$(
        #[repr(align($align))]
        struct $name([u8; $align]);

        impl Aligned for Vec<$name> {
            fn mark(&self) -> u64 {
                self.first().map_or(0, |unit| u64::from(unit.0[0]))
            }
        }

        impl $name {
            fn some(count: usize, mark: u8) -> Box<dyn Aligned> {
                let mut units = Vec::with_capacity(count);
                units.push(Self([mark; $align]));
                black_box(units.as_ptr());
                Box::new(units)
            }
        }
    )*};
}

units!(Simd 32, Line 64, Pair 128, Sector 512, Page 4096);

/// Aligned blocks of all types in one window.
trait Aligned {
    fn mark(&self) -> u64;
}

impl Aligned for Block {
    fn mark(&self) -> u64 {
        Self::mark(self)
    }
}

fn block(supply: &mut Supply) -> Box<dyn Aligned> {
    let numbers = &mut supply.numbers;
    let mark = numbers.below(256) as u8;
    match numbers.below(32) {
        0..=7 => Simd::some(numbers.between(1, 16), mark),
        8..=19 => Line::some(numbers.between(1, 8), mark),
        20..=22 => Pair::some(numbers.between(1, 4), mark),
        23 => Sector::some(numbers.between(1, 4), mark),
        24 => Page::some(numbers.between(1, 2), mark),
        _ => Box::new(supply.block()),
    }
}

pub(crate) fn run(scale: Scale) -> u64 {
    let sizes = Sizes::of_programs();
    let mut supply = Supply::new(&sizes, 0xa119);
    let mut sum = Checksum::default();
    let mut window: Vec<Box<dyn Aligned>> = (0..WINDOW).map(|_| block(&mut supply)).collect();
    for _ in 0..scale.of(STEPS) {
        let fresh = block(&mut supply);
        let dead = supply.numbers.choose_mut(&mut window);
        sum.add(dead.mark());
        *dead = fresh;
    }
    window.iter().for_each(|block| sum.add(block.mark()));
    sum.value()
}
