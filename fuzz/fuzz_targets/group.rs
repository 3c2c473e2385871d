//! A group of three under anything that can happen to it: messages lost, doubled, altered, made up and replayed,
//! commands, crashes, restarts, sleep. The null suite lets altered messages through every seal, so what is tried here
//! is what lies behind authentication. What must hold is in `karp_fuzz::check`.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use karp_fuzz::{op::Plan, router::Options, world::World};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(plan) = Plan::arbitrary(&mut Unstructured::new(data)) else {
        return;
    };
    let mut world = World::new(Options(plan.options));
    for op in &plan.ops {
        world.apply(op);
    }
});
