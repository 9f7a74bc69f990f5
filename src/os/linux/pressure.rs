//! How long tasks have waited for memory: pressure stall information, <https://docs.kernel.org/accounting/psi.html>.

use super::file::read;
use super::group;

/// Microseconds for which some task of the machine, and some task of the process's control group, has waited for memory so far.
/// `None` where the kernel does not tell.
pub(crate) fn stalled() -> [Option<u64>; 2] {
    let (mut machine, mut path, mut own) = ([0; 256], [0; 512], [0; 256]);
    let machine = read(b"/proc/pressure/memory\0", &mut machine);
    let own = group::of_process(&mut path).and_then(|path| group::read_of(path, b"/memory.pressure\0", &mut own));
    [machine, own].map(|text| text.and_then(total))
}

/// The last number of the line `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn total(text: &[u8]) -> Option<u64> {
    let some = core::str::from_utf8(text).ok()?.lines().find(|line| line.starts_with("some "))?;
    some.rsplit_once("total=")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_some_task_waited_is_read() {
        let text =
            b"some avg10=0.12 avg60=0.00 avg300=0.00 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=89\n";
        assert_eq!(total(text), Some(1_234_567));
        assert_eq!(total(b"full avg10=0.00 avg60=0.00 avg300=0.00 total=89\n"), None);
        assert_eq!(total(b""), None);
    }
}
