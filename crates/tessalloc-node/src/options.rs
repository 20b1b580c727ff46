//! The options of the copy that serves this process, by its table.

use std::ffi::{CStr, CString, c_char, c_int};

use napi_derive::napi;
use tessalloc::table::OptionInfo;

use crate::live;

/// An option as the core's table has it.
#[napi(object)]
pub struct LiveOption {
    /// Its name in the environment.
    pub name: String,
    /// What it does, in a sentence or two.
    pub doc: String,
    /// What its value counts: 0 a switch, 1 milliseconds, 2 bytes, 3 a count.
    pub unit: u32,
    /// Who gave the value: 0 the default, 1 the program, 2 the environment, 3 a call while it runs.
    pub source: u32,
    /// The value in force.
    pub value: f64,
    /// The value where nobody gives another one.
    pub default_value: f64,
    /// The least value that it takes.
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

/// The options in force in this process, in the order of the core's table.
#[napi]
pub fn live_options() -> Vec<LiveOption> {
    (0..).map_while(live_option).collect()
}

/// The option of a number, which is its place in the table.
fn live_option(number: i32) -> Option<LiveOption> {
    let mut info = OptionInfo {
        struct_bytes: size_of::<OptionInfo>() as u32,
        unit: 0,
        source: 0,
        padding: 0,
        value: 0,
        default_value: 0,
        least: 0,
        most: 0,
        name: std::ptr::null(),
        doc: std::ptr::null(),
    };
    // SAFETY: L3; `info` is writable for the bytes that it states.
    let error = unsafe { (live::table().option_info)(number, &mut info) };
    // SAFETY: both texts live as long as the image.
    let text = |at: *const c_char| unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned();
    (error == 0).then(|| LiveOption {
        name: text(info.name),
        doc: text(info.doc),
        unit: info.unit,
        source: info.source,
        value: info.value as f64,
        default_value: info.default_value as f64,
        least: info.least as f64,
        most: info.most as f64,
    })
}

/// Sets the option of a number to a whole number. False: it does not take it.
#[napi]
pub fn set_live_option(number: i32, value: f64) -> bool {
    is_set((live::table().option_set)(number, value as u64))
}

/// Sets the option of a number to a text as the environment has it. False: it does not take it.
#[napi]
pub fn set_live_option_text(number: i32, text: String) -> bool {
    let Ok(text) = CString::new(text) else { return false };
    // SAFETY: L3; a C string.
    is_set(unsafe { (live::table().option_set_text)(number, text.as_ptr()) })
}

fn is_set(error: c_int) -> bool {
    error == 0
}
