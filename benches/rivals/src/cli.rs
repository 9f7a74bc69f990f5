//! The command line of every binary.
//!
//! ```text
//! BINARY --list             the names of the workloads, one a line
//! BINARY --scaling TURNS    prints how two threads scale that allocate, and two that calculate: `scaling 1.93 1.96`
//! BINARY WORKLOAD [SCALE]   runs one workload once and prints `checksum N`
//! ```
//!
//! One process runs one workload, so that its CPU time and its peak RSS are those of the process. What is not understood
//! is said on stderr, with exit code 2.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::scale::Scale;
use crate::scaling;
use crate::workloads::{ALL, Workload};

/// What the command line asks for.
enum Request {
    List,
    Scaling(usize),
    Run(&'static Workload, Scale),
}

impl Request {
    fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match args[..] {
            ["--list"] => Ok(Self::List),
            ["--scaling", turns] => {
                turns.parse().map(Self::Scaling).map_err(|_| format!("--scaling {turns:?}: not a number of turns"))
            }
            [name] => Ok(Self::Run(named(name)?, Scale::ONE)),
            [name, scale] => Ok(Self::Run(named(name)?, scale.parse()?)),
            _ => Err("usage: BINARY --list | BINARY --scaling TURNS | BINARY WORKLOAD [SCALE]".to_owned()),
        }
    }
}

fn named(name: &str) -> Result<&'static Workload, String> {
    ALL.iter()
        .find(|workload| workload.name == name)
        .ok_or_else(|| format!("no workload is named {name:?}; --list names them all"))
}

fn answer(request: &Request) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match request {
        Request::List => ALL.iter().try_for_each(|workload| writeln!(out, "{}", workload.name)),
        Request::Scaling(turns) => {
            let (allocating, calculating) = scaling::measure(*turns);
            writeln!(out, "scaling {allocating:.4} {calculating:.4}")
        }
        Request::Run(workload, scale) => writeln!(out, "checksum {}", (workload.run)(*scale)),
    }
}

/// The main function of every binary.
pub fn main() -> ExitCode {
    let request = match Request::read(std::env::args_os().skip(1)) {
        Ok(request) => request,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    match answer(&request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stdout: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Request, String> {
        Request::read(args.iter().map(OsString::from))
    }

    #[test]
    fn reads_a_list_and_runs() {
        assert!(matches!(read(&["--list"]), Ok(Request::List)));
        assert!(matches!(read(&["larson"]), Ok(Request::Run(workload, Scale::ONE)) if workload.name == "larson"));
        assert!(matches!(read(&["larson", "0.5"]), Ok(Request::Run(_, scale)) if scale != Scale::ONE));
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for args in
            [&[][..], &["no-such"], &["--list", "1"], &["larson", "fast"], &["larson", "1", "2"], &["--scaling", "x"]]
        {
            assert!(read(args).is_err(), "{args:?}");
        }
    }
}
