//! Whole programs under a preloaded malloc.
//!
//! Real programs, as the distribution ships them, each with a generated input. Before anything is measured, each runs
//! once under each malloc while the loader takes notes (see `bindings`): a program that does not reach the preloaded
//! malloc is left out, and a line says why. That first run also brings its files into memory, and sets the result that
//! all later runs must give.
//!
//! Randomness that a program makes itself (the hash seeds of python and perl) is turned off; the random layout of the
//! address space is left on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::allocators::{Allocator, SYSTEM, installed};
use crate::bindings;
use crate::inputs::Input;
use crate::machine::Fact;
use crate::measure::{Call, Outcome};
use crate::place::Place;
use crate::progress::Progress;
use crate::rounds::{Clients, Contestant, Job, ResultOf, Subject, empty};

/// A program to measure.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// What it does, for the report.
    pub(crate) what: &'static str,
    /// The command that must be there; others that it needs come with it.
    command: &'static str,
    package: &'static str,
    version: &'static [&'static str],
    input: Input,
    job: fn(Call, &Tools<'_>) -> Job,
    /// It is linked with a malloc of its own, so the C library's must be preloaded as any other.
    brings_malloc: bool,
}

/// What a job is made from, besides its program.
struct Tools<'a> {
    scripts: &'a Path,
    input: &'a Path,
}

pub(crate) const PROGRAMS: [Program; 12] = [
    Program {
        name: "python",
        what: "python3 with PYTHONMALLOC=malloc: objects, dictionaries, JSON there and back, trees",
        command: "python3",
        package: "python3",
        version: &["--version"],
        input: Input::Log,
        job: |call, tools| {
            let call =
                call.env("PYTHONMALLOC", "malloc").env("PYTHONHASHSEED", "0").env("PYTHONDONTWRITEBYTECODE", "1");
            plain(call.args([tools.scripts.join("work.py"), tools.input.into()]))
        },
        brings_malloc: false,
    },
    Program {
        name: "perl",
        what: "hashes of arrays from a log, matches and substitutions",
        command: "perl",
        package: "perl",
        version: &["-e", "print \"perl $^V\\n\""],
        input: Input::Log,
        job: |call, tools| {
            let call = call.env("PERL_HASH_SEED", "0").env("PERL_PERTURB_KEYS", "0");
            plain(call.args([tools.scripts.join("work.pl"), tools.input.into()]))
        },
        brings_malloc: false,
    },
    Program {
        name: "lua",
        what: "tables from a log, substitutions, trees built and collected",
        command: "lua5.4",
        package: "lua5.4",
        version: &["-v"],
        input: Input::Log,
        job: |call, tools| plain(call.args([tools.scripts.join("work.lua"), tools.input.into()])),
        brings_malloc: false,
    },
    Program {
        name: "sqlite3",
        what: "100,000 rows into a database in memory, indexes, joins, groups",
        command: "sqlite3",
        package: "sqlite3",
        version: &["--version"],
        input: Input::Sql,
        job: |call, tools| plain(call.args(["-batch", ":memory:"]).stdin(tools.input)),
        brings_malloc: false,
    },
    Program {
        name: "gcc",
        what: "a C file of 70 functions, -O2 (cc1 does the work)",
        command: "gcc",
        package: "gcc",
        version: &["--version"],
        input: Input::C,
        job: |call, tools| compile(call, "-O2", tools.input),
        brings_malloc: false,
    },
    Program {
        name: "g++",
        what: "a C++ file of 5 classes in containers, -O1 (cc1plus does the work)",
        command: "g++",
        package: "g++",
        version: &["--version"],
        input: Input::Cxx,
        job: |call, tools| compile(call, "-O1", tools.input),
        brings_malloc: false,
    },
    Program {
        name: "ghostscript",
        what: "100 pages of drawings and text, to a grey bitmap",
        command: "gs",
        package: "ghostscript",
        version: &["--version"],
        input: Input::PostScript,
        job: |call, tools| {
            let flags = ["-q", "-dNOPAUSE", "-dBATCH", "-dSAFER", "-sDEVICE=pgmraw", "-r72", "-o", "pages.pgm"];
            let call = call.args(flags).args([tools.input]);
            Job { call, clients: None, result: ResultOf::Bytes(vec!["pages.pgm"]) }
        },
        brings_malloc: false,
    },
    Program {
        name: "redis",
        what: "redis-server: 250,000 mixed commands from one client, then redis-benchmark; the server alone is measured. It is \
               linked with jemalloc, so under `system` the C library itself is preloaded",
        command: "redis-server",
        package: "redis-server",
        version: &["--version"],
        input: Input::Redis,
        job: |call, tools| redis(call, tools.input),
        // Debian's is linked with jemalloc, but reaches it by the usual names.
        brings_malloc: true,
    },
    Program {
        name: "memcached",
        what: "memcached with four threads: 200,000 mixed commands of one client, which reads its answers; the server alone is \
               measured",
        command: "memcached",
        package: "memcached",
        version: &["--version"],
        input: Input::Memcached,
        job: |call, tools| memcached(call, tools),
        brings_malloc: false,
    },
    Program {
        name: "node",
        what: "a script with four worker threads: JSON there and back, maps, buffers",
        command: "node",
        package: "nodejs",
        version: &["--version"],
        input: Input::Log,
        job: |call, tools| plain(call.args([tools.scripts.join("work.mjs"), tools.input.into()])),
        brings_malloc: false,
    },
    Program {
        name: "git",
        what: "500 files added, packed and looked through, in four threads",
        command: "git",
        package: "git",
        version: &["--version"],
        input: Input::Log,
        job: |call, tools| git(call, tools),
        brings_malloc: false,
    },
    Program {
        name: "sort",
        what: "1,200,000 lines in four threads",
        command: "sort",
        package: "coreutils",
        version: &["--version"],
        input: Input::Lines,
        job: |call, tools| {
            let call = call.args(["--parallel=4", "-S", "40M", "-T", ".", "-o", "sorted"]).args([tools.input]);
            Job { call, clients: None, result: ResultOf::Bytes(vec!["sorted"]) }
        },
        brings_malloc: false,
    },
];

fn plain(call: Call) -> Job {
    Job { call, clients: None, result: ResultOf::Bytes(Vec::new()) }
}

fn compile(call: Call, level: &'static str, source: &Path) -> Job {
    let call = call.args([level, "-c", "-o", "shapes.o"]).args([source]);
    Job { call, clients: None, result: ResultOf::Bytes(vec!["shapes.o"]) }
}

/// An alias lets git itself start the script, so that all of its children are counted.
fn git(call: Call, tools: &Tools<'_>) -> Job {
    let script = tools.scripts.join("work-git.sh");
    let fixed = "Tue, 1 Jan 2030 00:00:00 +0000";
    // An alias runs at the top of a repository: one that the laboratory itself lies in is not to be found.
    let above = tools.input.ancestors().nth(2).unwrap_or(tools.input);
    let call = call
        .env("GIT_CEILING_DIRECTORIES", above)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    let call = call.env("GIT_AUTHOR_DATE", fixed).env("GIT_COMMITTER_DATE", fixed);
    let call = ["AUTHOR", "COMMITTER"].iter().fold(call, |call, who| {
        call.env(format!("GIT_{who}_NAME"), "nobody").env(format!("GIT_{who}_EMAIL"), "nobody@example.org")
    });
    plain(
        call.args(["-c".to_owned(), format!("alias.work=!sh '{}'", script.display()), "work".into()])
            .args([tools.input]),
    )
}

/// Spoken to by a script of python3 through a socket of a relative name.
fn memcached(server: Call, tools: &Tools<'_>) -> Job {
    let client = |mode: &str| {
        Call::new("python3").args([tools.scripts.join("memcached.py")]).args([mode.to_owned()]).args([tools.input])
    };
    // As root it wants a name of somebody to become; nobody else has to have one.
    let server = server.args(["-s", "socket", "-t", "4", "-m", "64", "-u", "root"]);
    Job {
        call: server,
        clients: Some(Clients { probe: client("probe"), work: vec![client("work")], stop: client("stop") }),
        result: ResultOf::FirstClient,
    }
}

/// The socket has a relative name: names of sockets are short, and all the processes start in the same folder.
fn redis(server: Call, commands: &Path) -> Job {
    let client = |program: &str, args: &[&str]| Call::new(program).args(["-s", "socket"]).args(args.iter().copied());
    let server = server.args(["--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no"]);
    let server = server.args(["--daemonize", "no", "--loglevel", "warning", "--jemalloc-bg-thread", "no"]);
    let load = client("redis-cli", &["--pipe"]).stdin(commands);
    let tests = "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,mset";
    let bench = ["-q", "-n", "20000", "-c", "20", "-P", "8", "-d", "100", "-r", "50000", "-t", tests];
    Job {
        call: server,
        clients: Some(Clients {
            probe: client("redis-cli", &["ping"]),
            work: vec![load, client("redis-benchmark", &bench)],
            stop: client("redis-cli", &["shutdown", "nosave"]),
        }),
        result: ResultOf::FirstClient,
    }
}

/// A program that is there, with its input.
struct Ready {
    program: &'static Program,
    path: PathBuf,
    input: PathBuf,
}

/// What `prepare` found.
pub(crate) struct Prepared {
    pub(crate) subjects: Vec<Subject>,
    /// The versions of the programs.
    pub(crate) facts: Vec<Fact>,
}

/// Those of the programs that are named in `only` (all, if it is empty), under each allocator that they reach.
pub(crate) fn prepare(
    place: &Place,
    allocators: &[Allocator],
    only: &[String],
    limit: Duration,
    notes: &mut Vec<String>,
) -> Result<Prepared> {
    if let Some(unknown) = only.iter().find(|name| PROGRAMS.iter().all(|p| p.name != **name)) {
        let known: Vec<&str> = PROGRAMS.iter().map(|p| p.name).collect();
        bail!("there is no program {unknown:?} here; there are {}", known.join(", "));
    }
    let mut ready = Vec::new();
    let mut facts = Vec::new();
    for program in PROGRAMS.iter().filter(|p| only.is_empty() || only.iter().any(|name| name == p.name)) {
        let Some(path) = find(program.command, place) else {
            let Program { name, command, package, .. } = program;
            notes.push(format!("{command} (Debian: {package}) is not installed: {name} is left out"));
            continue;
        };
        let input = program.input.generate(&place.work.join("inputs"))?;
        empty(&place.run_folder())?;
        let version = Call::new(&path).args(program.version.iter().copied()).output(&place.run_folder());
        facts.push(Fact::new(program.name, format!("{}: {}", told(version.unwrap_or_default()), program.what)));
        ready.push(Ready { program, path, input });
    }

    let progress = Progress::new(ready.len() * allocators.len());
    let mut subjects = Vec::new();
    for Ready { program, path, input } in ready {
        let tools = Tools { scripts: &place.package.join("programs"), input: &input };
        let mut contestants = Vec::new();
        for allocator in allocators {
            progress.begin(&format!("looking at {} under {}", program.name, allocator.name));
            let mut library = allocator.library.clone();
            if program.brings_malloc && allocator.name == SYSTEM {
                library = installed("libc.so.6");
            }
            let call = Call::new(&path).preload(library.as_deref());
            let job = (program.job)(call, &tools);
            let mut trial = job.clone();
            if library.is_some() {
                trial.call = bindings::noted(trial.call, &place.run_folder());
            }
            let (run, _) = trial.run(&place.run_folder(), limit)?;
            let objection = match &library {
                // A run that ended badly is measured, so that the report shows it.
                Some(library) if run.outcome == Outcome::Good => bindings::objection(&place.run_folder(), library)?,
                _ => None,
            };
            match objection {
                Some(why) => {
                    notes.push(format!("{} is left out under {}: {why}", program.name, allocator.name));
                }
                None => contestants.push(Contestant {
                    allocator: allocator.name.clone(),
                    build: allocator.build.clone(),
                    job,
                }),
            }
            progress.skip();
        }
        subjects.push(Subject { name: program.name.into(), contestants });
    }
    progress.finish();
    Ok(Prepared { subjects, facts })
}

/// The first line up to its version number, without what is in brackets: `sort (GNU coreutils) 9.1` is `sort 9.1`.
fn told(version: String) -> String {
    let line = version.lines().next().unwrap_or_default();
    let (mut words, mut depth) = (Vec::new(), 0_usize);
    for word in line.split_whitespace() {
        let outside = depth == 0 && !word.starts_with('(');
        depth = (depth + word.matches('(').count()).saturating_sub(word.matches(')').count());
        if outside {
            words.push(word);
            if word.contains('.') && word.contains(|c: char| c.is_ascii_digit()) {
                break;
            }
        }
    }
    words.join(" ")
}

/// The path of a command; for python3 that of the interpreter, since the command may be a script that chooses one.
fn find(command: &str, place: &Place) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(command)).find(|path| path.is_file())?;
    if command != "python3" {
        return Some(found);
    }
    empty(&place.run_folder()).ok()?;
    let told = Call::new(found).args(["-c", "import sys; print(sys.executable)"]).output(&place.run_folder()).ok()?;
    Some(told.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_short() {
        let told = |text: &str| told(text.into());
        assert_eq!(told("Python 3.11.7\n"), "Python 3.11.7");
        assert_eq!(told("sort (GNU coreutils) 9.1\nCopyright"), "sort 9.1");
        assert_eq!(told("gcc (Debian 12.2.0-14) 12.2.0\n"), "gcc 12.2.0");
        assert_eq!(told("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0"), "Redis server v=7.0.15");
        assert_eq!(told("Lua 5.4.4  Copyright (C) 1994-2022"), "Lua 5.4.4");
        assert_eq!(told("3.40.1 2022-12-28 14:03:47 df5c253c"), "3.40.1");
        assert_eq!(told(""), "");
    }
}
