//! The scripted life on systems that this machine is not: other OS page sizes, little address space, accounted memory, no barrier.
#![cfg(tessalloc_sim)]

mod life;

use life::Plan;

const PLENTY: Plan = Plan { may_fail: false, is_scarce: false, idles: false };
const SCARCE: Plan = Plan { may_fail: true, is_scarce: true, idles: false };

#[test]
fn child() {
    life::live_if_child();
}

fn passes(plan: Plan, variables: &[(&str, u64)]) {
    let variables: Vec<(&str, String)> = variables.iter().map(|(name, value)| (*name, value.to_string())).collect();
    if let Err(error) = life::lines(&life::run(plan, &variables)) {
        panic!("with {variables:?}: {error}");
    }
}

#[test]
fn life_goes_well_with_os_pages_of_16_kib() {
    passes(PLENTY, &[("SIM_PAGE_BYTES", 16 << 10)]);
}

#[test]
fn life_goes_well_with_os_pages_of_64_kib() {
    passes(PLENTY, &[("SIM_PAGE_BYTES", 64 << 10)]);
}

#[test]
fn life_goes_well_with_an_address_limit_of_1_gb() {
    passes(PLENTY, &[("SIM_ADDRESS_LIMIT", 1_000_000_000)]);
}

#[test]
fn life_goes_well_with_an_address_limit_of_6_gb() {
    passes(PLENTY, &[("SIM_ADDRESS_LIMIT", 6_000_000_000)]);
}

#[test]
fn life_goes_well_where_memory_is_accounted() {
    passes(PLENTY, &[("SIM_COMMIT_BUDGET", 512 << 20)]);
}

#[test]
fn life_goes_on_when_accounted_memory_runs_out() {
    for megabytes in [1, 2, 8, 24] {
        passes(SCARCE, &[("SIM_COMMIT_BUDGET", megabytes << 20)]);
    }
}

#[test]
fn life_goes_on_when_address_space_runs_out() {
    for megabytes in [16, 40, 80] {
        passes(SCARCE, &[("SIM_ADDRESS_LIMIT", megabytes << 20)]);
    }
}

#[test]
fn life_goes_well_without_a_barrier() {
    passes(PLENTY, &[("SIM_NO_BARRIER", 1)]);
}

#[test]
fn life_goes_well_on_a_machine_with_little_memory_and_large_pages() {
    let variables = [
        ("SIM_PHYSICAL", 256 << 20),
        ("SIM_PAGE_BYTES", 64 << 10),
        ("SIM_NO_BARRIER", 1),
        ("SIM_COMMIT_BUDGET", 512 << 20),
        ("SIM_ADDRESS_LIMIT", 1_000_000_000),
    ];
    passes(PLENTY, &variables);
}
