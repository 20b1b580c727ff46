//! The n-th call of the system fails, for every n of a scripted life: null or an error, no crash, figures that add up, and it
//! works again afterwards. Then every place that makes such a call must have seen it fail.
#![cfg(tessalloc_sim)]

mod life;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use life::Plan;

#[test]
fn child() {
    life::live_if_child();
}

/// A place in the code: calls made from it and failures seen, over all lives.
#[derive(Default)]
struct Seen {
    name: String,
    calls: u64,
    failures: u64,
}

#[derive(Default)]
struct Record {
    sites: BTreeMap<String, Seen>,
    faults: Vec<String>,
}

impl Record {
    fn add(&mut self, line: &str) {
        let mut words = line.split('\t');
        if words.next() != Some("site") {
            return;
        }
        let [name, place, calls, failures] = [(); 4].map(|()| words.next().expect("four words in a line of a site"));
        let seen = self.sites.entry(place.into()).or_default();
        seen.name = name.into();
        seen.calls += calls.parse::<u64>().expect("a number of calls");
        seen.failures += failures.parse::<u64>().expect("a number of failures");
    }

    /// Of the places in the sources, and of those that made calls, the ones that never saw one fail.
    fn without_failure(&self, places: &[String]) -> Vec<String> {
        let failed =
            |place: &String| self.sites.iter().any(|(known, seen)| known.ends_with(place) && seen.failures > 0);
        places.iter().chain(self.sites.keys()).filter(|place| !failed(place)).cloned().collect()
    }
}

fn number(lines: &[String], which: &str) -> u64 {
    let prefix = format!("calls\t{which}\t");
    let found = lines.iter().find_map(|line| line.strip_prefix(&prefix)).expect("a count of calls");
    found.parse().expect("a number of calls")
}

/// Calls of the contract that can fail.
const FALLIBLE: [&str; 17] = [
    "reserve",
    "commit",
    "protect",
    "unprotect",
    "purge",
    "populate_huge",
    "resident_count",
    "move_pages",
    "renew",
    "wipe_on_fork",
    "physical_bytes",
    "barrier_register",
    "barrier_all_threads",
    "exit_hook_create",
    "exit_hook_arm",
    "at_fork",
    "spawn",
];

/// Places that no life on this back end reaches, by their text, and why.
const UNREACHABLE: [(&str, &str); 1] =
    [("os::commit(start, count as usize * SLICE_BYTES)", "commit by slice: only where `COMMITS_PREFIX` is false")];

/// Every place in the sources that makes a fallible call, as `file:line` below the crate.
fn places_in_sources(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("an entry of the sources").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "os") {
                places_in_sources(&path, into);
            }
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source can be read");
        for (index, line) in text.lines().enumerate() {
            let calls = FALLIBLE.iter().any(|name| line.contains(&format!("os::{name}(")));
            let is_reachable = UNREACHABLE.iter().all(|(text, _)| !line.contains(text));
            if calls && is_reachable && !line.trim_start().starts_with("//") {
                let below = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("a path below the crate");
                into.push(format!("{}:{}", below.display(), index + 1));
            }
        }
    }
}

#[test]
fn every_call_fails_once_and_the_allocator_goes_on() {
    if std::env::var_os("TESSALLOC_TEST_LIFE").is_some() {
        return;
    }
    let plan = Plan { may_fail: false, is_scarce: false, idles: true };
    let whole = life::lines(&life::run(plan, &[])).unwrap_or_else(|error| panic!("without failures: {error}"));
    let (busy, all) = (number(&whole, "busy"), number(&whole, "all"));
    println!("a life makes {busy} calls that can fail, and {} more while it idles", all - busy);

    // Single failures; runs of failures, to fail what a failure leads to; and all calls from some point on.
    let mut lives: Vec<(u64, u64)> = (1..=all + 1).map(|n| (n, 1)).collect();
    lives.extend((1..=busy).step_by(7).map(|n| (n, 3)));
    lives.extend((1..=busy).step_by(23).map(|n| (n, 0)));

    let (next, record) = (AtomicU64::new(0), Mutex::new(Record::default()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((n, run)) = lives.get(next.fetch_add(1, Ordering::Relaxed) as usize).copied() {
                    let plan = Plan { may_fail: true, is_scarce: false, idles: run == 1 && n > busy };
                    let variables = [("SIM_FAIL_AT", n.to_string()), ("SIM_FAIL_RUN", run.to_string())];
                    let outcome = life::lines(&life::run(plan, &variables));
                    let mut record = record.lock().expect("no other life panicked");
                    match outcome {
                        Ok(lines) => lines.iter().for_each(|line| record.add(line)),
                        Err(error) => record.faults.push(format!("call {n} and {run} in a row (0: all) fail: {error}")),
                    }
                }
            });
        }
    });
    let mut record = record.into_inner().expect("no life panicked");
    let mut places = Vec::new();
    places_in_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut places);
    assert!(places.len() > 10, "the sources were found: {places:?}");
    // Threads make a call the n-th in one life and the next in another: what slipped through has its first call fail.
    for place in record.without_failure(&places) {
        let (_, line) = place.rsplit_once(':').expect("a file and a line");
        let plan = Plan { may_fail: true, is_scarce: false, idles: true };
        match life::lines(&life::run(plan, &[("SIM_FAIL_LINE", line.to_owned())])) {
            Ok(lines) => lines.iter().for_each(|line| record.add(line)),
            Err(error) => record.faults.push(format!("the first call from {place} fails: {error}")),
        }
    }

    println!("{:<22} {:>9} {:>9}  place", "call", "calls", "failures");
    for (place, seen) in &record.sites {
        println!("{:<22} {:>9} {:>9}  {place}", seen.name, seen.calls, seen.failures);
    }
    let failures: u64 = record.sites.values().map(|seen| seen.failures).sum();
    println!("covered: {} lives of up to {all} calls each, {failures} calls failed", lives.len());
    for fault in record.faults.iter().take(3) {
        println!("{fault}");
    }
    assert!(
        record.faults.is_empty(),
        "{} of {} lives went wrong; the first are above",
        record.faults.len(),
        lives.len()
    );
    let never = record.without_failure(&places);
    assert!(never.is_empty(), "never failed: {never:?}");
}
