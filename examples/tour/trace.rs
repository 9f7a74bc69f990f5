//! Which memory system calls a child makes: ptrace(2) stops it at each one and asks the kernel for its arguments.
//!
//! ```text
//!   child   ... write "<"   brk(0)   brk(x)   write ">"   write reading ...
//!                    |         |        |           |
//!   tracer      begin a step   +--noted-+        end it
//! ```
//!
//! What the child writes is read as soon as it is written, so that it stands in order with the calls.
//!
//! # Safety
//!
//! ptrace(2) and waitpid(2) on a child that this file started.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus, Stdio};

use crate::steps::BEGIN;

/// A memory system call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    pub(crate) args: [u64; 6],
    pub(crate) result: i64,
}

/// The system calls that have to do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Brk,
    Mmap,
    Munmap,
    Mprotect,
    Madvise,
    Mremap,
}

impl Kind {
    fn of(number: libc::c_long) -> Option<Self> {
        match number {
            libc::SYS_brk => Some(Self::Brk),
            libc::SYS_mmap => Some(Self::Mmap),
            libc::SYS_munmap => Some(Self::Munmap),
            libc::SYS_mprotect => Some(Self::Mprotect),
            libc::SYS_madvise => Some(Self::Madvise),
            libc::SYS_mremap => Some(Self::Mremap),
            _ => None,
        }
    }
}

/// What a traced child has done.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// The calls of each step.
    pub(crate) steps: Vec<Vec<Call>>,
    /// All that it has written.
    pub(crate) output: Vec<u8>,
}

/// Runs a child to its end and traces it. An error when that is not permitted here.
pub(crate) fn run(mut command: Command) -> io::Result<Trace> {
    // SAFETY: between fork and exec only a system call is made.
    unsafe { command.pre_exec(|| ptrace(libc::PTRACE_TRACEME, 0, 0, 0)) };
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut pipe = child.stdout.take().ok_or_else(|| io::Error::other("the child has no pipe"))?;
    let traced = follow(child.id(), &mut pipe);
    if traced.is_err() {
        // It may be stopped, or gone; in either case it must not stay.
        let _ = child.kill();
        let _ = child.wait();
    }
    traced
}

fn follow(pid: u32, pipe: &mut impl io::Read) -> io::Result<Trace> {
    // It stops once the program is loaded, before its first instruction.
    let stopped = wait(pid)?;
    if stopped.stopped_signal() != Some(libc::SIGTRAP) {
        return Err(io::Error::other(format!("the child is not traced: {stopped}")));
    }
    ptrace(libc::PTRACE_SETOPTIONS, pid, 0, (libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL) as usize)?;

    let mut trace = Trace::default();
    let mut is_in_step = false;
    while let Some(Returned { number, args, result }) = next_system_call(pid)? {
        if number == libc::SYS_write && args[0] == libc::STDOUT_FILENO as u64 {
            let mut written = vec![0; usize::try_from(result).unwrap_or(0)];
            pipe.read_exact(&mut written)?;
            if written == [BEGIN] {
                trace.steps.push(Vec::new());
            }
            is_in_step = written == [BEGIN];
            trace.output.append(&mut written);
        }
        if let (true, Some(kind), Some(step)) = (is_in_step, Kind::of(number), trace.steps.last_mut()) {
            step.push(Call { kind, args, result });
        }
    }
    Ok(trace)
}

/// A system call that has returned.
struct Returned {
    number: libc::c_long,
    args: [u64; 6],
    result: i64,
}

/// Lets the child run to the end of its next system call. `None`: it has ended.
fn next_system_call(pid: u32) -> io::Result<Option<Returned>> {
    const AT_SYSTEM_CALL: i32 = libc::SIGTRAP | 0x80;
    let mut entered = None;
    let mut signal = 0;
    loop {
        ptrace(libc::PTRACE_SYSCALL, pid, 0, signal as usize)?;
        let status = wait(pid)?;
        signal = match status.stopped_signal() {
            Some(AT_SYSTEM_CALL) => 0,
            // One for the child itself: it gets it.
            Some(signal) => signal,
            None => return Ok(None),
        };
        if signal != 0 {
            continue;
        }
        let (info, is_entry) = syscall_info(pid)?;
        if is_entry {
            // SAFETY: at an entry, the entry is what the kernel has filled in.
            let entry = unsafe { info.u.entry };
            entered = Some((entry.nr as libc::c_long, entry.args));
        } else if let Some((number, args)) = entered {
            // SAFETY: at an exit, the exit is.
            let result = unsafe { info.u.exit }.sval;
            return Ok(Some(Returned { number, args, result }));
        }
    }
}

/// At which system call the child has stopped, and whether at its entry.
fn syscall_info(pid: u32) -> io::Result<(libc::ptrace_syscall_info, bool)> {
    // SAFETY: integers, for which all zeros are a value.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size_of_val(&info), (&raw mut info).expose_provenance())?;
    match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => Ok((info, true)),
        libc::PTRACE_SYSCALL_INFO_EXIT => Ok((info, false)),
        other => Err(io::Error::other(format!("stopped at a system call in an unknown way ({other})"))),
    }
}

/// ptrace(2). With PTRACE_GET_SYSCALL_INFO, `data` is the address of as many bytes as `address` says.
fn ptrace(request: libc::c_uint, pid: u32, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: the requests of this file act on the child and, that one, on the bytes given.
    let result = unsafe { libc::ptrace(request, pid as libc::pid_t, address, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until the child stops or ends.
fn wait(pid: u32) -> io::Result<ExitStatus> {
    let mut status = 0;
    // SAFETY: writes the status.
    let result = unsafe { libc::waitpid(pid as libc::pid_t, &raw mut status, libc::__WALL) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(ExitStatus::from_raw(status)) }
}
