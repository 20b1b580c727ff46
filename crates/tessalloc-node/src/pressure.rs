//! Tells JavaScript of memory pressure, in each thread that wants to know.
//!
//! The allocator's background thread calls [`told`], which puts the news into each thread's event loop. None of these keeps a loop
//! alive.
//!
//! K1 a thread is here from its first call on until its environment ends: the hook that takes it out is set once. K2 the list's lock is
//! taken before the allocator's own, never while that is held: `told` is called outside of it. K3 functions are dropped outside the
//! lock, on their own thread.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::FnArgs;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Result, Status};
use tessalloc::Pressure;

use crate::live;

/// Cause, whether it is severe, bytes held, bytes that there should be at most.
type News = FnArgs<(u32, bool, f64, f64)>;
/// A thread whose event loop stands still is told of the first 16.
pub(crate) type Listener = ThreadsafeFunction<News, (), News, Status, false, true, 16>;

struct Thread {
    env: usize,
    listener: Option<Listener>,
}

static THREADS: Mutex<Vec<Thread>> = Mutex::new(Vec::new());

fn threads() -> MutexGuard<'static, Vec<Thread>> {
    // Nothing in between can panic halfway.
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has this thread's function called on pressure, in place of the one before. False if there can be no background thread.
pub(crate) fn listen(env: &Env, listener: Option<Listener>) -> Result<bool> {
    let key = env.raw().addr();
    let mut list = threads();
    if !list.iter().any(|thread| thread.env == key) {
        list.push(Thread { env: key, listener: None });
        drop(list);
        env.add_env_cleanup_hook(key, end)?;
        list = threads();
    }
    let Some(thread) = list.iter_mut().find(|thread| thread.env == key) else { return Ok(false) };
    let before = std::mem::replace(&mut thread.listener, listener);
    let is_told = tell_the_allocator(&list);
    drop(list);
    drop(before);
    Ok(is_told)
}

/// A thread's environment ends.
fn end(env: usize) {
    let mut list = threads();
    let at = list.iter().position(|thread| thread.env == env);
    let gone = at.map(|at| list.swap_remove(at));
    tell_the_allocator(&list);
    drop(list);
    drop(gone);
}

/// The allocator looks each second for as long as somebody wants to know.
fn tell_the_allocator(list: &[Thread]) -> bool {
    let on = list.iter().any(|thread| thread.listener.is_some());
    // SAFETY: L3; the function takes any argument, at any time: napi pins the image that it lies in.
    unsafe { (live::table().listen)(told, null_mut(), on.into()) != 0 }
}

unsafe extern "C" fn told(_: *mut c_void, pressure: *const Pressure) {
    // SAFETY: the pressure is there for the call.
    let pressure = unsafe { &*pressure };
    let news = (pressure.cause as u32, pressure.is_severe, pressure.held_bytes as f64, pressure.limit_bytes as f64);
    for listener in threads().iter().filter_map(|thread| thread.listener.as_ref()) {
        // One whose thread ends just now takes no news.
        listener.call(news.into(), ThreadsafeFunctionCallMode::NonBlocking);
    }
}
