//! Short files of the system, read into the stack.
//!
//! # Safety
//!
//! System calls on the caller's buffer.
#![allow(unsafe_code)]

use crate::arch::syscall;

/// A file that is open for reading.
struct File(usize);

impl File {
    /// That at `path`, which ends with a zero byte.
    fn open(path: &[u8]) -> Option<Self> {
        debug_assert_eq!(path.last(), Some(&0));
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        let at = libc::AT_FDCWD as usize;
        // SAFETY: openat(2) reads the path up to its zero byte.
        let file = unsafe { syscall(libc::SYS_openat, [at, path.as_ptr() as usize, flags, 0, 0, 0]) };
        usize::try_from(file).ok().map(Self)
    }

    /// Reads on; how many bytes there were.
    fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        let args = [self.0, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0];
        // SAFETY: read(2) writes at most `buffer.len()` bytes to the buffer.
        usize::try_from(unsafe { syscall(libc::SYS_read, args) }).ok()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor was opened here and is nobody else's.
        let _ = unsafe { syscall(libc::SYS_close, [self.0, 0, 0, 0, 0, 0]) };
    }
}

/// What the file at `path` (which ends with a zero byte) holds, as far as it fits.
pub(crate) fn read<'a>(path: &[u8], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let len = File::open(path)?.read(buffer)?;
    buffer.get(..len)
}

/// Calls `each` with the lines of the file at `path` (which ends with a zero byte), without their ends. The buffer need only be as
/// long as the longest line of interest with its end: of a longer one `each` sees pieces.
pub(super) fn for_each_line(path: &[u8], buffer: &mut [u8], mut each: impl FnMut(&[u8])) {
    let Some(file) = File::open(path) else { return };
    let mut held = 0;
    while let Some(read) = file.read(&mut buffer[held..]).filter(|&read| read > 0) {
        held += read;
        while let Some(end) = buffer[..held].iter().position(|&byte| byte == b'\n') {
            each(&buffer[..end]);
            buffer.copy_within(end + 1..held, 0);
            held -= end + 1;
        }
        if held == buffer.len() {
            each(buffer);
            held = 0;
        }
    }
    if held > 0 {
        each(&buffer[..held]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    /// The lines of a file that holds `text`, read with a buffer of `len` bytes.
    fn lines(text: &str, len: usize) -> Vec<String> {
        let name = std::format!("heapwright-lines-{}-{len}-{}", std::process::id(), text.len());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("the temporary folder can be written");
        let mut found = Vec::new();
        let with_zero = std::format!("{}\0", path.display());
        for_each_line(with_zero.as_bytes(), &mut std::vec![0; len], |line| {
            found.push(String::from_utf8_lossy(line).into_owned())
        });
        std::fs::remove_file(&path).expect("the file is there");
        found
    }

    #[test]
    fn lines_are_whole_wherever_the_buffer_ends() {
        let text = "Name:\tx\n\nSigBlk:\t0001\nSigCgt:\t0002\nlast";
        for len in 13..60 {
            assert_eq!(lines(text, len), ["Name:\tx", "", "SigBlk:\t0001", "SigCgt:\t0002", "last"], "{len}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_comes_in_pieces() {
        assert_eq!(lines("abcdefgh\nij\n", 4), ["abcd", "efgh", "", "ij"]);
        assert_eq!(lines("", 4), [""; 0]);
    }
}
