//! Programs that people use, on tessalloc by preload. Each passes checks of its own or gives what it gives without us, and each is
//! seen to have allocated from tessalloc.
mod support;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use support::*;

fn witness() -> &'static PathBuf {
    static WITNESS: OnceLock<PathBuf> = OnceLock::new();
    WITNESS.get_or_init(|| compile_library("witness.c", &["-ldl"]))
}

/// A run under tessalloc, with a record of who used it.
struct Preload {
    record: PathBuf,
}

impl Preload {
    fn new(name: &str) -> Self {
        Self { record: unique(&format!("witness-{name}")) }
    }

    /// A command that gets the preload library; ended after four minutes.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "240", "env"]);
        command.arg(format!("LD_PRELOAD={} {}", library().shared.display(), witness().display()));
        command.arg(format!("TESSALLOC_TEST_WITNESS={}", self.record.display())).arg(program);
        command
    }

    /// A process of this name ended having allocated from tessalloc, at least `calls` times by the slow path.
    fn was_used_by(&self, program: &str, calls: u64) {
        let text = fs::read_to_string(&self.record).unwrap_or_default();
        let most = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|row| row.len() == 3 && row[0].starts_with(program) && row[1] == "1")
            .filter_map(|row| row[2].parse::<u64>().ok())
            .max();
        assert!(
            most.is_some_and(|most| most >= calls),
            "{program} did not allocate from tessalloc {calls} times: {text:?}"
        );
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = unique(name);
    fs::create_dir_all(&folder).expect("create a folder");
    folder
}

#[test]
fn python_passes_parts_of_its_own_test_suite() {
    let python = "/usr/bin/python3";
    if !Path::new(python).exists() && !need("python3", &["python3"]) {
        return;
    }
    let has_tests = || {
        Command::new(python)
            .args(["-c", "import test.test_json, test.test_list"])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !has_tests() {
        let version = must(Command::new(python).args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]));
        let package = format!("libpython{}-testsuite", version.trim());
        if !(install(&[&package]) && has_tests()) {
            return skip(&format!("Python's test suite is not installed (Debian: apt-get install {package})"));
        }
    }
    let preload = Preload::new("python");
    let mut command = preload.command(python);
    // Python takes small objects from arenas of its own unless it is told not to.
    command.env("PYTHONMALLOC", "malloc").args(["-m", "test", "-q"]);
    command.args([
        "test_json",
        "test_list",
        "test_dict",
        "test_set",
        "test_bytes",
        "test_thread",
        "test_re",
        "test_array",
    ]);
    let output = command.current_dir(folder("python")).output().expect("run python");
    let text = describe(&output);
    assert!(output.status.success() && text.contains("SUCCESS"), "{text}");
    preload.was_used_by("python3", 1000);
}

#[test]
fn sqlite_gives_the_same_results() {
    if !need("sqlite3", &["sqlite3"]) {
        return;
    }
    let script = "
        create table item (id integer primary key, name text, price real, body blob);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
          insert into item select i, 'item ' || (i * 7919 % 60000), (i * 31 % 1000) / 7.0, zeroblob(i % 900) from n;
        create index by_name on item (name);
        select count(*), sum(length(body)), round(sum(price), 3) from item;
        select name, price from item where name between 'item 100' and 'item 1019' order by name desc, id limit 50;
        select a.id, b.id from item a join item b on a.name = b.name and a.id % 100 = 3 order by a.id limit 40;
        select group_concat(name, '|') from (select name from item order by price, id limit 2000);
        update item set body = randomblob(10), name = upper(name) where id % 3 = 0;
        delete from item where id % 5 = 0;
        select count(*), min(name), max(name) from item;
        with recursive s(x, text) as (select 1, 'a' union all select x + 1, text || x from s where x < 800)
          select x, length(text) from s order by x desc limit 3;
        select json_group_array(json_object('id', id, 'price', price)) from (select * from item order by id limit 3000);
        vacuum;
        pragma integrity_check;
    ";
    let file = unique("script").with_extension("sql");
    fs::write(&file, script).expect("write the script");
    let run = |command: &mut Command| {
        must(command.args(["-batch", ":memory:"]).stdin(Stdio::from(fs::File::open(&file).expect("open the script"))))
    };
    let preload = Preload::new("sqlite");
    let (expected, got) = (run(&mut Command::new("sqlite3")), run(&mut preload.command("sqlite3")));
    assert!(expected.trim_end().ends_with("ok") && expected.lines().count() > 95, "{expected}");
    assert_eq!(expected, got);
    preload.was_used_by("sqlite3", 1000);
}

#[test]
fn git_makes_clones_packs_and_checks_a_repository() {
    if !need("git", &["git"]) {
        return;
    }
    let preload = Preload::new("git");
    let (origin, place) = (folder("origin"), folder("clones"));
    let git = |at: &Path, arguments: &[&str]| {
        let mut command = preload.command("git");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.org");
            command.env(format!("GIT_{role}_DATE"), "2026-01-01T00:00:00Z");
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        must(command.args(arguments).current_dir(at))
    };
    git(&origin, &["init", "-q", "-b", "main"]);
    for commit in 0..25usize {
        for file in 0..40usize {
            let lines: Vec<String> = (0..60).map(|line| format!("{file} {}", line * (commit + file) % 97)).collect();
            let folder = origin.join(format!("d{}", file % 5));
            fs::create_dir_all(&folder).expect("create a folder");
            fs::write(folder.join(format!("f{file}")), lines.join("\n")).expect("write a file");
        }
        git(&origin, &["add", "-A"]);
        git(&origin, &["commit", "-q", "-m", &format!("commit {commit}")]);
    }
    git(&origin, &["gc", "-q", "--aggressive", "--prune=now"]);
    let from = format!("file://{}", origin.display());
    git(&place, &["clone", "-q", &from, "copy"]);
    let copy = place.join("copy");
    git(&copy, &["fsck", "--full", "--strict"]);
    // What tessalloc's git has made is right for a git without it.
    must(Command::new("git").args(["fsck", "--full", "--strict"]).current_dir(&copy));
    let head = |at: &Path| must(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(at));
    assert_eq!(head(&origin), head(&copy));
    assert_eq!(git(&copy, &["log", "--oneline"]).lines().count(), 25);
    assert_eq!(git(&copy, &["status", "--porcelain"]), "");
    preload.was_used_by("git", 20);
}

/// A server that is ended with its test, also when that fails.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian's redis names jemalloc as its allocator and is linked with it, but as a shared library and by the plain names of malloc:
/// the preload stands before it. A redis that has jemalloc inside, or under other names, fails the last check.
#[test]
fn redis_server_and_benchmark() {
    if !need("redis-server", &["redis-server"]) || !need("redis-benchmark", &["redis-tools"]) {
        return;
    }
    let preload = Preload::new("redis");
    let at = folder("redis");
    let socket = at.join("socket").display().to_string();
    let mut start = preload.command("redis-server");
    start.args(["--port", "0", "--unixsocket", &socket, "--save", "", "--appendonly", "no", "--daemonize", "no"]);
    let server = Server(start.current_dir(&at).stdout(Stdio::null()).spawn().expect("start redis-server"));
    let client = |arguments: &[&str]| must(preload.command("redis-cli").args(["-s", &socket]).args(arguments));
    let mut waited = 0;
    while !Path::new(&socket).exists() {
        assert!(waited < 200, "redis-server did not open its socket within 10 s");
        waited += 1;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(client(&["ping"]).trim(), "PONG");
    let mut benchmark = preload.command("redis-benchmark");
    benchmark.args(["-s", &socket, "-n", "20000", "-r", "5000", "-d", "200", "-q", "-t", "set,get,lpush,hset,zadd"]);
    let figures = must(&mut benchmark);
    assert!(figures.matches("requests per second").count() >= 5, "{figures}");
    assert!(client(&["dbsize"]).trim().parse::<u64>().expect("a number of keys") > 4000);
    let script = "local n = 0 for i = 1, 2000 do redis.call('set', 'k' .. i, string.rep('x', i)) end \
                  for i = 1, 2000 do n = n + #redis.call('get', 'k' .. i) end return n";
    assert_eq!(client(&["eval", script, "0"]).trim(), "2001000");
    let memory = client(&["info", "memory"]);
    let allocator =
        memory.lines().find_map(|line| line.strip_prefix("mem_allocator:")).unwrap_or("unknown").trim().to_string();
    client(&["shutdown", "nosave"]);
    drop(server);
    eprintln!("the allocator that redis-server was built for: {allocator}");
    preload.was_used_by("redis-benchmark", 10);
    preload.was_used_by("redis-cli", 1);
    preload.was_used_by("redis-server", 100);
}

/// Compiles a program whose result is known with the compiler on tessalloc, and runs it on tessalloc.
fn compiler_works(compiler: &str, process: &str) {
    let preload = Preload::new(compiler);
    let at = folder(compiler);
    let source = "
        #include <algorithm>
        #include <iostream>
        #include <map>
        #include <regex>
        #include <string>
        #include <vector>
        int main() {
          std::map<std::string, std::vector<int>> table;
          for (int i = 0; i < 20000; i++) table[std::to_string(i % 977)].push_back(i);
          long sum = 0;
          for (auto &[key, values] : table) { std::sort(values.rbegin(), values.rend()); sum += values.front() * (long)key.size(); }
          std::cout << table.size() << ' ' << sum << ' ' << std::regex_replace(std::string(\"a1b22\"), std::regex(\"[0-9]+\"), \"#\") << '\\n';
        }";
    fs::write(at.join("program.cpp"), source).expect("write the program");
    for level in ["-O0", "-O2"] {
        let build = |command: &mut Command, name: &str| {
            must(command.args(["-std=c++17", level, "-c", "program.cpp", "-o", name]).current_dir(&at));
        };
        build(&mut preload.command(compiler), "ours.o");
        build(&mut Command::new(compiler), "theirs.o");
        assert_eq!(
            fs::read(at.join("ours.o")).unwrap(),
            fs::read(at.join("theirs.o")).unwrap(),
            "{compiler} {level} makes another file"
        );
        must(preload.command(compiler).args(["ours.o", "-o", "program"]).current_dir(&at));
        let plain = must(Command::new("./program").current_dir(&at));
        assert!(plain.starts_with("977 ") && plain.ends_with(" a#b#\n"), "{plain}");
        assert_eq!(plain, must(preload.command("./program").current_dir(&at)));
    }
    preload.was_used_by(process, 1000);
    preload.was_used_by("program", 10);
}

#[test]
fn gcc_compiles_the_same_code() {
    if need("g++", &["g++"]) {
        compiler_works("g++", "cc1plus");
    }
}

#[test]
fn clang_compiles_the_same_code() {
    // A second compiler where there is one; gcc is always tested.
    if have("clang++") {
        compiler_works("clang++", "clang");
    }
}

#[test]
fn node_runs_workers() {
    if !need("node", &[]) {
        return;
    }
    let script = r#"
        const { Worker, isMainThread, workerData, parentPort } = require('node:worker_threads')
        const zlib = require('node:zlib'), crypto = require('node:crypto')
        if (isMainThread) {
          const run = (n) => new Promise((good, bad) => {
            const worker = new Worker(__filename, { workerData: n })
            worker.once('message', good).once('error', bad)
          })
          Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(run)).then((all) => Promise.all([9, 10].map(run)).then((more) => {
            const text = [...all, ...more].join(' ')
            console.log(crypto.createHash('sha256').update(text).digest('hex'))
          }))
        } else {
          const hash = crypto.createHash('sha256')
          for (let i = 0; i < 60; i++) {
            const rows = Array.from({ length: 200 }, (_, j) => ({ id: i * j * workerData, text: 'x'.repeat(j % 50) }))
            const packed = zlib.gzipSync(Buffer.from(JSON.stringify(rows)))
            hash.update(JSON.stringify(JSON.parse(zlib.gunzipSync(packed).toString())))
            hash.update(Buffer.alloc(1 + i * 5000, i))
          }
          parentPort.postMessage(hash.digest('hex'))
        }"#;
    let file = unique("workers").with_extension("cjs");
    fs::write(&file, script).expect("write the script");
    let preload = Preload::new("node");
    let expected = must(Command::new("node").arg(&file));
    assert_eq!(expected.trim().len(), 64);
    for _ in 0..2 {
        assert_eq!(expected, must(preload.command("node").arg(&file)));
    }
    preload.was_used_by("node", 1000);
}

#[test]
fn tsc_checks_and_compiles() {
    let root = package().ancestors().nth(2).expect("the workspace");
    let tsc = root.join("node_modules/typescript/bin/tsc");
    if !need("node", &[]) {
        return;
    }
    if !tsc.exists() {
        return skip("TypeScript is not installed (npm install)");
    }
    let at = folder("tsc");
    let source = (0..300)
        .map(|n| format!("export interface T{n} {{ readonly a: number; b: Array<Partial<Record<'x' | 'y', T{}>>> }}\nexport const f{n} = (t: T{n}): number => t.a + t.b.length + {n}\n", n / 2))
        .collect::<String>();
    fs::write(at.join("good.ts"), &source).expect("write a source");
    fs::write(at.join("bad.ts"), format!("{source}\nconst wrong: string = f3({{ a: 1, b: [] }})\n"))
        .expect("write a source");
    let preload = Preload::new("tsc");
    let run = |mut command: Command, file: &str, out: &str| {
        let config = format!(
            r#"{{ "compilerOptions": {{ "strict": true, "target": "es2020", "module": "es2020", "types": [], "outDir": "{out}" }}, "files": ["{file}"] }}"#
        );
        fs::write(at.join("tsconfig.json"), config).expect("write the configuration");
        command.arg(&tsc);
        let output = command.current_dir(&at).output().expect("run tsc");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(run(preload.command("node"), "good.ts", "ours"), (Some(0), String::new()));
    assert_eq!(run(Command::new("node"), "good.ts", "theirs").0, Some(0));
    assert_eq!(fs::read(at.join("ours/good.js")).unwrap(), fs::read(at.join("theirs/good.js")).unwrap());
    let (code, said) = run(preload.command("node"), "bad.ts", "ours");
    assert!(code != Some(0) && said.contains("TS2322"), "tsc missed the error: {said}");
    preload.was_used_by("node", 1000);
}
