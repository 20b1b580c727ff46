//! The workloads, and what a program around one allocator needs to run them.
//!
//! Every peer is a program of its own with its own `#[global_allocator]`, built from this source:
//!
//! ```text
//! bench-<peer> <workload> [--scale F]   runs it once, prints one line of JSON
//! bench-<peer> --list                   names all workloads
//! bench-<peer> --prove                  shows that this peer, and not the C library, serves the program
//! ```
//!
//! | module      | holds                                                                        |
//! |-------------|------------------------------------------------------------------------------|
//! | `measure`   | the clock, resident memory, random numbers, the result line                  |
//! | `block`     | taking and giving back raw blocks                                            |
//! | `single`    | one thread against the clock                                                 |
//! | `threads`   | several threads against the clock                                            |
//! | `memory`    | what stays resident, and address space                                       |
//! | `prove`     | which allocator is in use                                                    |

mod block;
mod measure;
mod memory;
mod prove;
mod single;
mod threads;

use measure::Run;

/// The allocator of the program.
pub trait Peer {
    const NAME: &str;

    /// The bytes that the owner of `block` may write, by the peer's own account.
    ///
    /// # Safety
    /// `block` is live and from the global allocator.
    unsafe fn usable_bytes(block: *mut u8) -> usize;
}

type Workload = (&'static str, fn(&mut Run));

/// `<workload>/<sizes>/<threads>`; one thread where none are named.
fn workloads<P: Peer>() -> Vec<Workload> {
    vec![
        ("pair/64B", single::pair::<64>),
        ("pair/1KiB", single::pair::<1_024>),
        ("pair/4KiB", single::pair::<4_096>),
        ("pair/32KiB", single::pair::<32_768>),
        ("pair/1MiB", single::pair::<1_048_576>),
        ("fifo/64B", single::fifo),
        ("random/64B", single::random),
        ("mixed/8..1024B", single::mixed),
        ("large/1..128KiB", single::large),
        ("vectors/8MB", single::vectors),
        ("maps", single::maps),
        ("json", single::json),
        ("fullpages/64B", single::full_pages),
        ("aligned/64..256B", single::aligned),
        ("latency/16B..32KiB", single::latency),
        ("handoff/64B/2t", threads::hand_off),
        ("shared/16..512B/2t", threads::shared::<2>),
        ("shared/16..512B/16t", threads::shared::<16>),
        ("freeonly/16..1024B/5t", memory::free_only::<P>),
        ("sizes34/64t", memory::sizes_34),
        ("idle/all", memory::idle_all),
        ("idle/holes", memory::idle_holes),
        ("churn/512t", memory::churn),
        ("space/100GiB", memory::space::<100, 1>),
        ("space/600GiB", memory::space::<600, 16>),
    ]
}

/// The whole program.
pub fn main<P: Peer>() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let workloads = workloads::<P>();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list"] => workloads.iter().for_each(|(name, _)| println!("{name}")),
        ["--prove"] => prove::prove::<P>(),
        [name] => run::<P>(&workloads, name, 1.0),
        [name, "--scale", scale] => match scale.parse() {
            Ok(scale) if scale > 0.0 => run::<P>(&workloads, name, scale),
            _ => fail(&format!("Cannot run {name}: --scale must be a number above 0, received {scale}")),
        },
        _ => fail(&format!("Cannot run: expected <workload> [--scale F], --list or --prove, received {args:?}")),
    }
}

fn run<P: Peer>(workloads: &[Workload], name: &str, scale: f64) {
    let Some((name, body)) = workloads.iter().find(|(known, _)| *known == name) else {
        fail(&format!("Cannot run: expected one of the names that --list prints, received {name}"));
    };
    let mut run = Run::new(scale);
    body(&mut run);
    println!("{}", run.into_json(P::NAME, name));
}

pub(crate) fn fail(text: &str) -> ! {
    eprintln!("{text}");
    std::process::exit(2)
}
