//! The group's parts, one rule at a time, on a node whose state the test sets up.

mod keys;
mod live;
mod members;
mod offices;
mod registrants;
mod states;
