//! How many cores this process may use: the smaller of its affinity mask and its control group's CPU quota.
//!
//! The quota stands in `cpu.max` of the process's group and of each group above it (control groups version 2), or in
//! `cpu.cfs_quota_us` and `cpu.cfs_period_us` (version 1); see
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files>. Files are read into the stack. Asked once,
//! when the first thread arena is made.
//!
//! # Safety
//!
//! System calls on buffers of this file's own.
#![allow(unsafe_code)]

use super::file::read;
use super::group;
use crate::arch::syscall;

/// Usable cores, at least 1.
pub(super) fn usable() -> usize {
    let by_mask = affinity().max(1);
    match quota() {
        Some(by_quota) => by_mask.min(by_quota.max(1)),
        None => by_mask,
    }
}

/// Cores in the process's affinity mask; 0 when it cannot be read.
fn affinity() -> usize {
    let mut mask = [0u64; 128];
    let args = [0, size_of_val(&mask), (&raw mut mask) as usize, 0, 0, 0];
    // SAFETY: sched_getaffinity(2) writes at most the length of `mask`.
    let written = unsafe { syscall(libc::SYS_sched_getaffinity, args) };
    if written <= 0 {
        return 0;
    }
    mask.iter().map(|word| word.count_ones() as usize).sum()
}

fn quota() -> Option<usize> {
    let mut buffer = [0u8; 1024];
    if let Some(cores) = group::of_process(&mut buffer).and_then(unified_quota) {
        return Some(cores);
    }
    let mut file = [0u8; 64];
    let quota = read(b"/sys/fs/cgroup/cpu/cpu.cfs_quota_us\0", &mut file).and_then(number)?;
    let period = read(b"/sys/fs/cgroup/cpu/cpu.cfs_period_us\0", &mut file).and_then(number)?;
    cores_of(quota, period)
}

/// The smallest quota from `group` up to the root.
fn unified_quota(mut group: &[u8]) -> Option<usize> {
    let mut least: Option<usize> = None;
    loop {
        group = group.strip_suffix(b"/").unwrap_or(group);
        let mut file = [0u8; 64];
        let cores = group::read_of(group, b"/cpu.max\0", &mut file).and_then(cores_of_cpu_max);
        least = match (least, cores) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        match group.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => group = &group[..slash],
            None => return least,
        }
    }
}

/// `cpu.max` is "QUOTA PERIOD", or "max PERIOD" without a limit.
fn cores_of_cpu_max(text: &[u8]) -> Option<usize> {
    let mut words = text.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let quota = words.next().and_then(number)?;
    let period = words.next().and_then(number)?;
    cores_of(quota, period)
}

fn cores_of(quota: usize, period: usize) -> Option<usize> {
    (quota > 0 && period > 0).then(|| quota.div_ceil(period))
}

/// A decimal number with white space behind it; `None` for anything else ("max", "-1").
fn number(text: &[u8]) -> Option<usize> {
    core::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_rounded_up_to_whole_cores() {
        assert_eq!(cores_of_cpu_max(b"150000 100000\n"), Some(2));
        assert_eq!(cores_of_cpu_max(b"50000 100000\n"), Some(1));
        assert_eq!(cores_of_cpu_max(b"max 100000\n"), None);
        assert_eq!(cores_of_cpu_max(b""), None);
        assert_eq!(number(b"-1\n"), None);
    }

    #[test]
    fn this_machine_has_a_core() {
        assert!((1..=affinity()).contains(&usable()));
    }
}
