//! The process's control group of version 2, and the files in which the kernel says what it may have and what it lacks.
//!
//! See <https://docs.kernel.org/admin-guide/cgroup-v2.html>: a line of `/proc/self/cgroup` that begins with `0::` names the
//! group, as a path below the place where the groups are mounted.

use super::file::read;

const MOUNT: &[u8] = b"/sys/fs/cgroup";

/// The path of the process's group; `None` where there is none.
pub(super) fn of_process(buffer: &mut [u8]) -> Option<&[u8]> {
    let groups = read(b"/proc/self/cgroup\0", buffer)?;
    groups.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))
}

/// What a file of `group` holds, as far as it fits; `name` begins with a slash and ends with a zero byte.
pub(super) fn read_of<'a>(group: &[u8], name: &[u8], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let group = group.strip_suffix(b"/").unwrap_or(group);
    let mut path = [0u8; 512];
    let mut len = 0;
    for part in [MOUNT, group, name] {
        path.get_mut(len..len + part.len())?.copy_from_slice(part);
        len += part.len();
    }
    read(&path[..len], buffer)
}
