//! The clock, resident memory, random numbers, the result line. Nothing here allocates while a workload is timed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

/// The timed part is cut in so many equal parts; the fastest tells what the machine can do between two disturbances.
const PARTS: u64 = 8;

/// One run of one workload.
pub(crate) struct Run {
    scale: f64,
    ops: u64,
    wall: Duration,
    cpu: Duration,
    fastest_ns: f64,
    /// Figures of the workload's own, in the order they were noted.
    metrics: Vec<(&'static str, f64)>,
}

impl Run {
    pub(crate) fn new(scale: f64) -> Self {
        let metrics = Vec::with_capacity(16);
        Self { scale, ops: 0, wall: Duration::ZERO, cpu: Duration::ZERO, fastest_ns: f64::INFINITY, metrics }
    }

    /// `full` operations scaled by `--scale`, rounded up to whole parts.
    pub(crate) fn ops(&self, full: u64) -> u64 {
        ((full as f64 * self.scale) as u64).div_ceil(PARTS).max(1) * PARTS
    }

    /// Runs `body` for a part's worth of operations to warm up, then `PARTS` times against the clock.
    pub(crate) fn time(&mut self, full: u64, mut body: impl FnMut(u64)) {
        let ops = self.ops(full);
        let part = ops / PARTS;
        body(part);
        let cpu = cpu_now();
        let start = Instant::now();
        let mut before = start;
        for _ in 0..PARTS {
            body(part);
            let now = Instant::now();
            self.fastest_ns = self.fastest_ns.min((now - before).as_nanos() as f64 / part as f64);
            before = now;
        }
        self.record(ops, before - start, cpu_now() - cpu);
    }

    /// For workloads that look at the clock themselves.
    pub(crate) fn record(&mut self, ops: u64, wall: Duration, cpu: Duration) {
        (self.ops, self.wall, self.cpu) = (ops, wall, cpu);
    }

    pub(crate) fn note(&mut self, name: &'static str, value: f64) {
        self.metrics.push((name, value));
    }

    /// The figure noted last.
    pub(crate) fn last_note(&self) -> (&'static str, f64) {
        *self.metrics.last().expect("a figure was noted")
    }

    pub(crate) fn into_json(self, peer: &str, workload: &str) -> String {
        let peak = status_kib("VmHWM:");
        let end = resident_kib();
        let mut text = format!(r#"{{"allocator":"{peer}","workload":"{workload}","ops":{}"#, self.ops);
        let per_op = |time: Duration| time.as_nanos() as f64 / self.ops as f64;
        if self.ops > 0 {
            let _ = write!(text, r#","ns":{:.4},"cpu_ns":{:.4}"#, per_op(self.wall), per_op(self.cpu));
        }
        if self.fastest_ns.is_finite() {
            let _ = write!(text, r#","fastest_ns":{:.4}"#, self.fastest_ns);
        }
        let _ = write!(text, r#","peak_rss_kib":{peak},"end_rss_kib":{end},"metrics":{{"#);
        for (index, (name, value)) in self.metrics.iter().enumerate() {
            let _ = write!(text, r#"{}"{name}":{value:.4}"#, if index == 0 { "" } else { "," });
        }
        text + "}}"
    }
}

/// CPU time of all threads of the process.
pub(crate) fn cpu_now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A field of `/proc/self/status`, in KiB. The kernel's own counter: cheap, and off by some OS pages a CPU at most.
pub(crate) fn status_kib(field: &str) -> u64 {
    number_after("/proc/self/status", field)
}

/// Resident memory now, counted by a walk over the page tables: exact, and slow where much is mapped.
pub(crate) fn resident_kib() -> u64 {
    number_after("/proc/self/smaps_rollup", "Rss:")
}

fn number_after(path: &str, field: &str) -> u64 {
    let mut buffer = [0; 8_192];
    let mut used = 0;
    if let Ok(mut file) = File::open(path) {
        while let Ok(more @ 1..) = file.read(&mut buffer[used..]) {
            used += more;
        }
    }
    let text = std::str::from_utf8(&buffer[..used]).unwrap_or("");
    let rest = text.lines().find_map(|line| line.strip_prefix(field));
    match rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok()) {
        Some(number) => number,
        None => crate::fail(&format!("Cannot measure memory: expected a number after {field} in {path}, found none")),
    }
}

/// Entries of `/proc/self/maps`.
pub(crate) fn mapping_count() -> u64 {
    let mut buffer = [0; 65_536];
    let mut lines = 0;
    if let Ok(mut file) = File::open("/proc/self/maps") {
        while let Ok(used @ 1..) = file.read(&mut buffer) {
            lines += buffer[..used].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    }
    lines
}

/// xorshift64*: three shifts and a multiplication, so that the numbers cost less than the blocks.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 ≤ result < `limit` ≤ 2³².
    #[inline(always)]
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (((self.next() >> 32) * limit as u64) >> 32) as usize
    }

    /// `low` ≤ result < `low << doublings`; every doubling is as likely as the others.
    #[inline(always)]
    pub(crate) fn log_uniform(&mut self, low: usize, doublings: usize) -> usize {
        let low = low << self.below(doublings);
        low + self.below(low)
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
