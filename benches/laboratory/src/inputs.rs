//! The inputs of the programs: generated from fixed seeds, so the same everywhere, written straight to their files.
//!
//! Their sizes make each program run for about a second on a machine of 2020.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fastrand::Rng;

/// A writer of one input file.
type Writer = fn(&mut dyn Write, &mut Rng) -> io::Result<()>;

/// An input file, by what it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input {
    /// Lines of a server's log: host, method, path, status, length, words.
    Log,
    /// Lines of random letters and digits, to be sorted.
    Lines,
    /// A C file of many functions.
    C,
    /// A C++ file of many classes in many containers.
    Cxx,
    /// A document of drawings and text.
    PostScript,
    /// Rows for a database, and the queries below them.
    Sql,
    /// Commands of the redis protocol.
    Redis,
    /// Commands of memcached's text protocol.
    Memcached,
}

impl Input {
    fn recipe(self) -> (&'static str, Writer) {
        match self {
            Self::Log => ("log.txt", log),
            Self::Lines => ("lines.txt", lines),
            Self::C => ("shapes.c", c),
            Self::Cxx => ("shapes.cc", cxx),
            Self::PostScript => ("pages.ps", postscript),
            Self::Sql => ("items.sql", sql),
            Self::Redis => ("commands.resp", redis),
            Self::Memcached => ("commands.txt", memcached),
        }
    }

    /// Writes the file into `folder` and returns its path.
    pub(crate) fn generate(self, folder: &Path) -> Result<PathBuf> {
        let (name, write) = self.recipe();
        let path = folder.join(name);
        let generate = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut out = BufWriter::new(File::create(&path)?);
            write(&mut out, &mut Rng::with_seed(0x5eed_0000 + self as u64))?;
            out.flush()
        };
        generate().with_context(|| format!("generate {}", path.display()))?;
        Ok(path)
    }
}

/// A word of 2 to 9 letters; a few thousand different ones, short ones often.
fn word(rng: &mut Rng) -> String {
    let mut own = Rng::with_seed((u64::from(rng.u16(..)) * u64::from(rng.u16(..))) >> 19);
    (0..own.usize(2..10)).map(|_| own.lowercase()).collect()
}

fn words(rng: &mut Rng, count: usize) -> String {
    (0..count).map(|_| word(rng)).collect::<Vec<_>>().join(" ")
}

fn log(out: &mut dyn Write, rng: &mut Rng) -> io::Result<()> {
    for _ in 0..50_000 {
        let host = format!("host-{}.example", rng.u32(0..700));
        let path = format!("/{}/{}/{}", word(rng), rng.u32(0..100_000), word(rng));
        let status = [200, 200, 200, 304, 404, 500][rng.usize(0..6)];
        let length = rng.u32(0..90_000);
        let method = ["GET", "GET", "POST", "PUT"][rng.usize(0..4)];
        let count = rng.usize(1..12);
        writeln!(out, "{host} {method} {path} {status} {length} {}", words(rng, count))?;
    }
    Ok(())
}

fn lines(out: &mut dyn Write, rng: &mut Rng) -> io::Result<()> {
    for _ in 0..1_200_000 {
        let len = rng.usize(1..40);
        let line: String = (0..len).map(|_| rng.alphanumeric()).collect();
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn c(out: &mut dyn Write, rng: &mut Rng) -> io::Result<()> {
    writeln!(out, "#include <stddef.h>\n#include <stdio.h>\n#include <string.h>\n")?;
    writeln!(out, "struct node {{ int key; double weight; struct node *left, *right; char name[24]; }};\n")?;
    for i in 0..70 {
        let (a, b, m) = (rng.u32(1..97), rng.u32(1..97), rng.u32(3..9));
        writeln!(out, "static double weigh_{i}(const struct node *n, int depth)\n{{")?;
        writeln!(out, "    double sum = 0, parts[16] = {{ 0 }};")?;
        writeln!(out, "    for (int i = 0; n && i < depth; i++) {{")?;
        writeln!(out, "        switch ((n->key + i) % {m}) {{")?;
        for case in 0..m {
            let (x, y) = (rng.u32(1..31), rng.u32(1..31));
            writeln!(out, "        case {case}: sum += n->weight * {x} + parts[(i + {y}) & 15]; break;")?;
        }
        writeln!(out, "        }}\n        parts[i & 15] = sum / (1 + (double)strlen(n->name));")?;
        writeln!(out, "        n = n->key * {a} > i * {b} ? n->left : n->right;\n    }}")?;
        writeln!(out, "    for (size_t j = 0; j < 16; j++) sum += parts[j] * parts[15 - j];")?;
        if i > 2 {
            let (p, q) = (rng.u32(0..i), rng.u32(0..i));
            writeln!(out, "    if (sum > {a} && depth > 0) sum -= weigh_{p}(n, depth - 1) + weigh_{q}(n, depth / 2);")?;
        }
        writeln!(out, "    return sum;\n}}\n")?;
    }
    writeln!(out, "double weigh(const struct node *n)\n{{\n    double sum = 0;")?;
    (0..70).try_for_each(|i| writeln!(out, "    sum += weigh_{i}(n, {});", i % 7 + 1))?;
    writeln!(out, "    return sum;\n}}")
}

fn cxx(out: &mut dyn Write, rng: &mut Rng) -> io::Result<()> {
    writeln!(out, "#include <algorithm>\n#include <map>\n#include <memory>\n#include <string>")?;
    writeln!(out, "#include <unordered_map>\n#include <vector>\n")?;
    writeln!(out, "template <int N> struct Shape {{ virtual ~Shape() = default; virtual double area() const = 0; }};")?;
    for i in 0..5 {
        let (a, b) = (rng.u32(1..97), rng.u32(1..97));
        writeln!(out, "struct Round{i} : Shape<{i}> {{")?;
        writeln!(out, "    std::string name; double r = {a};")?;
        writeln!(out, "    explicit Round{i}(std::string n) : name(std::move(n)) {{}}")?;
        writeln!(out, "    double area() const override {{ return r * r * {b} + name.size(); }}\n}};")?;
        writeln!(out, "double total_{i}(const std::vector<std::string> &names) {{")?;
        writeln!(out, "    std::map<std::string, std::unique_ptr<Shape<{i}>>> shapes;")?;
        writeln!(out, "    std::unordered_map<std::string, std::vector<Round{i}>> kept;")?;
        writeln!(
            out,
            "    for (auto &n : names) {{ shapes[n] = std::make_unique<Round{i}>(n); kept[n].emplace_back(n); }}"
        )?;
        writeln!(out, "    std::vector<std::pair<double, std::string>> order;")?;
        writeln!(out, "    for (auto &[n, s] : shapes) order.emplace_back(s->area(), n);")?;
        writeln!(out, "    std::sort(order.begin(), order.end(), [](auto &x, auto &y) {{ return x > y; }});")?;
        writeln!(out, "    double sum = {a};")?;
        writeln!(out, "    for (auto &[a, n] : order) sum += a * kept[n].size();\n    return sum;\n}}")?;
    }
    Ok(())
}

fn postscript(out: &mut dyn Write, rng: &mut Rng) -> io::Result<()> {
    writeln!(out, "%!PS-Adobe-3.0\n%%Pages: 100")?;
    for page in 1..=100 {
        writeln!(out, "%%Page: {page} {page}")?;
        for _ in 0..70 {
            let (x, y, r) = (rng.u32(0..612), rng.u32(0..792), rng.u32(3..70));
            writeln!(out, "0.{} setgray newpath {x} {y} {r} 0 360 arc closepath fill", rng.u32(10..99))?;
            let mut point = || format!("{} {}", rng.u32(0..612), rng.u32(0..792));
            writeln!(out, "newpath {} moveto {} {} {} curveto stroke", point(), point(), point(), point())?;
        }
        for line in 0..40 {
            let font = ["Times-Roman", "Helvetica", "Courier", "Times-Italic"][rng.usize(0..4)];
            let size = rng.u32(7..15);
            writeln!(out, "0 setgray /{font} findfont {size} scalefont setfont")?;
            writeln!(out, "40 {} moveto ({}) show", 760 - line * 18, words(rng, 11))?;
        }
        // An array made and sorted by the interpreter itself.
        writeln!(out, "/a [ 1 1 900 {{ dup {} mul 997 mod exch pop }} for ] def", rng.u32(2..99))?;
        writeln!(out, "/d 50 dict def 0 1 400 {{ dup 20 string cvs cvn exch d 3 1 roll put }} for showpage")?;
    }
    writeln!(out, "%%EOF")
}

fn sql(out: &mut dyn Write, rng: &mut Rng) -> io::Result<()> {
    writeln!(out, "CREATE TABLE items(id INTEGER PRIMARY KEY, kind INT, name TEXT, price INT, note TEXT);\nBEGIN;")?;
    for id in 0..100_000 {
        let (kind, price, count) = (rng.u32(0..400), rng.u32(0..500), rng.usize(1..9));
        writeln!(out, "INSERT INTO items VALUES({id},{kind},'{}',{price},'{}');", word(rng), words(rng, count))?;
    }
    writeln!(out, "COMMIT;")?;
    out.write_all(include_bytes!("../programs/queries.sql"))
}

fn redis(out: &mut dyn Write, rng: &mut Rng) -> io::Result<()> {
    for _ in 0..250_000 {
        let key = rng.u32(0..40_000);
        let key = |kind: &str| format!("{kind}:{key}");
        let (len, member, score) = (rng.usize(1..40), word(rng), rng.u32(0..10_000).to_string());
        let command: Vec<String> = match rng.usize(0..16) {
            0..=4 => vec!["SET".into(), key("s"), words(rng, len)],
            5 => vec!["APPEND".into(), key("s"), words(rng, 3)],
            6 => vec!["DEL".into(), key("s")],
            7..=9 => vec!["HSET".into(), key("h"), member, words(rng, 2)],
            10 => vec!["DEL".into(), key("h")],
            11..=12 => vec!["RPUSH".into(), key("l"), words(rng, 4)],
            13 => vec!["LPOP".into(), key("l")],
            14 => vec!["ZADD".into(), "z:one".into(), score, member],
            _ => vec!["GET".into(), key("s")],
        };
        write!(out, "*{}\r\n", command.len())?;
        command.iter().try_for_each(|part| write!(out, "${}\r\n{part}\r\n", part.len()))?;
    }
    Ok(())
}

fn memcached(out: &mut dyn Write, rng: &mut Rng) -> io::Result<()> {
    for _ in 0..200_000 {
        let (key, len) = (rng.u32(0..30_000), rng.usize(1..60));
        match rng.usize(0..8) {
            0..=3 => {
                let value = words(rng, len);
                write!(out, "set k{key} 0 0 {}\r\n{value}\r\n", value.len())?;
            }
            4 => write!(out, "delete k{key}\r\n")?,
            _ => write!(out, "get k{key}\r\n")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_the_same_each_time() {
        let folder = tempfile::tempdir().expect("a folder");
        for input in [Input::C, Input::Cxx, Input::PostScript] {
            let read = || fs::read(input.generate(folder.path()).expect("an input")).expect("its bytes");
            let first = read();
            assert!(first.len() > 3_000 && first == read(), "{input:?}");
        }
    }
}
