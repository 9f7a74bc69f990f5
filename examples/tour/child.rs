//! The processes of the tour: this program, started again in another role.
//!
//! The role stands in the environment and not in the arguments, because the allocator has to know it at the first
//! request, and to look into the environment takes no memory.
//!
//! # Safety
//!
//! The environment is read as C keeps it; nothing in this program writes to it.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The variable that names the role of a child.
const VARIABLE: &CStr = c"TOUR_CHILD";

/// Two allocators that do the same work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rival {
    Heapwright,
    System,
}

impl Rival {
    pub(crate) const BOTH: [Self; 2] = [Self::Heapwright, Self::System];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Heapwright => "heapwright",
            Self::System => "system",
        }
    }
}

/// What a process of this program is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Starts the others and shows what they do.
    Guide,
    /// Takes the steps of the walk.
    Walk,
    /// Has three threads, and shows their arenas itself.
    Threads,
    /// Does the work on one of the allocators.
    Work(Rival),
}

impl Role {
    /// Allocates nothing.
    pub(crate) fn of_this_process() -> Self {
        // SAFETY: a string that ends with a zero byte; nobody changes the environment meanwhile.
        let value = unsafe { libc::getenv(VARIABLE.as_ptr()) };
        if value.is_null() {
            return Self::Guide;
        }
        // SAFETY: getenv returned it: a string that stays as long as nobody changes the environment.
        let value = unsafe { CStr::from_ptr(value) };
        let all = [Self::Walk, Self::Threads, Self::Work(Rival::Heapwright), Self::Work(Rival::System)];
        all.into_iter().find(|role| role.name().as_bytes() == value.to_bytes()).unwrap_or(Self::Guide)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Guide => "",
            Self::Walk => "walk",
            Self::Threads => "threads",
            Self::Work(rival) => rival.name(),
        }
    }

    /// This program in this role, with default settings.
    pub(crate) fn command(self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("tour").env(VARIABLE.to_string_lossy().as_ref(), self.name());
        for (name, _) in settings_left_out() {
            command.env_remove(name);
        }
        command
    }
}

/// What the environment holds that would change how either allocator works.
pub(crate) fn settings_left_out() -> Vec<(String, String)> {
    let is_setting = |name: &str| {
        ["LD_PRELOAD", "GLIBC_TUNABLES"].contains(&name)
            || ["HEAPWRIGHT_", "MALLOC_"].iter().any(|p| name.starts_with(p))
    };
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| is_setting(name))
        .collect()
}

/// Lets the child with three threads write to our stdout. Whether its checks passed.
pub(crate) fn show_threads() -> io::Result<bool> {
    Ok(Role::Threads.command().status()?.success())
}
