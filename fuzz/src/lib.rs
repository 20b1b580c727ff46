//! Random programs of calls of the allocator, held against a naive model: one interpreter for the differential test
//! (`tests/differential.rs`) and for the fuzz targets (`fuzz_targets`).
//!
//! | module    | holds                                                              |
//! |-----------|--------------------------------------------------------------------|
//! | [`step`]  | programs: words that are steps                                     |
//! | [`face`], [`library`] | what they run on: the Rust crate, the C library      |
//! | [`content`] | what is written into blocks                                      |
//! | [`crew`]  | threads that take turns                                            |
//! | [`run`]   | the interpreter and the model                                      |
//! | [`walking`], [`options`], [`hostile`] | what the other fuzz targets do               |
//!
//! The model's own memory comes from the system's allocator: nothing but the program's steps moves the one that is tested.

pub mod content;
pub mod crew;
pub mod face;
pub mod hostile;
pub mod library;
pub mod options;
pub mod run;
pub mod step;
pub mod walking;
