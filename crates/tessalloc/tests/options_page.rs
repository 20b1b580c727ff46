//! `docs/options.md` says what the table says. It is written anew by
//!
//!     TESSALLOC_TEST_REWRITE=1 cargo test -p tessalloc --test options_page

use std::fmt::Write as _;
use std::path::Path;

use tessalloc::Opt;
use tessalloc::options::{PREFIX, Unit};

fn unit(opt: Opt) -> &'static str {
    match opt.unit() {
        Unit::Switch => "switch",
        Unit::Milliseconds => "time",
        Unit::Bytes => "size",
        Unit::Count => "number",
    }
}

fn page() -> String {
    let mut page = String::from(
        "# Options\n\n<!-- Written by a test from the table in `crates/tessalloc/src/options.rs`: \
         TESSALLOC_TEST_REWRITE=1 cargo test -p tessalloc --test options_page -->\n\n\
         | variable | default | takes | what it does |\n|---|---|---|---|\n",
    );
    for opt in Opt::ALL {
        let (least, most) = opt.range();
        let show = |value| opt.unit().show(value);
        let takes = match opt.unit() {
            Unit::Switch => "off, on".into(),
            _ => format!("{}, {} to {}", unit(opt), show(least), show(most)),
        };
        let row = (opt.name(), show(opt.default_value()), takes, opt.doc());
        writeln!(page, "| `{}` | {} | {} | {} |", row.0, row.1, row.2, row.3).expect("text grows");
    }
    page.push_str(
        "
A **switch** is `on`, `off`, `1`, `0`, `true`, `false`, `yes` or `no`. A **time** is `250ms`, `2s`, `1m` or `1h`; a bare number is
milliseconds. A **size** is `64K`, `64M`, `2G` or `1T`, with `B` or `iB` behind it if one likes; a bare number is bytes, and K is 1,024.
Letters count in either case.

A value that an option does not take is reported once, with what it takes, and ignored. So is a variable that begins with `TESSALLOC_`
and names no option; the report gives the nearest name. `TESSALLOC_MAX_WARNINGS=0` silences both. Variables that begin with
`TESSALLOC_TEST_` or `TESSALLOC_DEFAULT_` are left alone.

## Who is stronger

| who gives a value | when | stronger than |
|---|---|---|
| the default: that of the table above, or of `TESSALLOC_DEFAULT_…` where the library is compiled | before anything runs | – |
| the program: `Tessalloc::with(Options)`, or `Options::install` | at the first allocation, or at the call | the default |
| the environment | at the first allocation | the program |
| `Opt::set`, `tessalloc_option_set` | at the call | all others |

So a program is built with what suits it, who runs it has the last word, and code that has looked at the situation decides.

## In Rust

```rust
use tessalloc::{Configured, Opt, Options, Tessalloc};

#[global_allocator]
static GLOBAL: Configured = Tessalloc::with(Options::new().purge_delay_ms(2000).keep_bytes(64 << 20));

fn main() {
    Opt::IdleDelayMs.set(5000).unwrap();
    assert_eq!(Opt::PurgeDelayMs.value(), 2000);
}
```

The options are a constant: nothing runs before `main`, and a value out of range is an error of the compiler. `static GLOBAL: Tessalloc =
Tessalloc;` has none. Small blocks cost the same with both. A library gives its wishes by `Options::install`.

| variable | built with | in code | in C |
|---|---|---|---|
",
    );
    for opt in Opt::ALL {
        let short = opt.name().strip_prefix(PREFIX).expect("every name has the prefix");
        let row = (opt.name(), opt.builder(), opt, short);
        writeln!(page, "| `{}` | `Options::{}` | `Opt::{:?}` | `TESSALLOC_OPTION_{}` |", row.0, row.1, row.2, row.3)
            .expect("text grows");
    }
    page.push_str(
        "
## In C

```c
#include <tessalloc.h>

tessalloc_option_set(TESSALLOC_OPTION_PURGE_DELAY, 2000);                /* 0, EINVAL or ERANGE */
tessalloc_option_set_text(tessalloc_option_find(\"keep\"), \"64M\");
for (int i = 0; i < tessalloc_option_count(); i++) puts(tessalloc_option_name(i));
```

## Compiled in

For a C library, or for all programs of a build: variables with `DEFAULT_` are read by the compiler. A value out of range stops the build.

```sh
TESSALLOC_DEFAULT_PURGE_DELAY=2s cargo build -p tessalloc-c --profile release-c
```

## Of a command

```sh
npx tessalloc env --list                               # this table, with what the environment gives now; --json for programs
TESSALLOC_KEEP=64M npx tessalloc run -- node app.js
TESSALLOC_VERBOSE=1 npx tessalloc run -- node app.js   # what it does, on standard error
```
",
    );
    page
}

#[test]
fn the_page_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/options.md");
    let expected = page();
    if std::env::var_os("TESSALLOC_TEST_REWRITE").is_some() {
        std::fs::write(&path, &expected).expect("docs/options.md can be written");
    }
    let found = std::fs::read_to_string(&path).expect("docs/options.md can be read");
    let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "docs/options.md differs from the table, first here: {differs:?}\nTESSALLOC_TEST_REWRITE=1 writes it anew"
    );
}
