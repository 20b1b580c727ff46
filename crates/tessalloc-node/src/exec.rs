//! Puts another program in the place of this process: what a launcher needs so that it does not stay.
//!
//! | what the new program gets | as |
//! |---|---|
//! | environment | this process's own, with the changes made through `process.env` |
//! | signals | default dispositions: Node.js ignores some, and what is ignored stays so across `execve`. The mask stays |
//! | the first descriptors, as many as asked for | open and blocking: Node.js marks all that it inherits as closed on exec, and makes pipes non-blocking for everyone who shares them |
//! | other descriptors | closed, but for some with high numbers: those of Node.js cannot be told from those that it inherited |
//! | threads | none: the system ends all but the caller's |

#[cfg(not(unix))]
pub(crate) use no_unix::replace_by;
#[cfg(unix)]
pub(crate) use unix::replace_by;

#[cfg(unix)]
mod unix {
    use std::ffi::{CString, c_char};
    use std::io::Error;

    /// Runs `words[0]`, looked up on `PATH`, with `words` as its arguments and the first `descriptors` that there are. Comes back
    /// only with the number of an error.
    pub(crate) fn replace_by(words: Vec<String>, descriptors: i32) -> i32 {
        let Ok(words) = words.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>() else {
            return libc::EINVAL;
        };
        let mut list: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
        list.push(std::ptr::null());
        let Some(program) = words.first() else { return libc::EINVAL };
        let ignored = give_up_signals();
        hand_on(descriptors);
        // SAFETY: texts and their list end with a null and live across the call.
        unsafe { libc::execvp(program.as_ptr(), list.as_ptr()) };
        let error = Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        ignore(&ignored);
        error
    }

    /// Gives every signal that is ignored its default, and says which these were. Handlers are dropped by the system.
    fn give_up_signals() -> Vec<i32> {
        (1..32)
            .filter(|&signal| {
                // SAFETY: all of its fields may be zero.
                let mut old = unsafe { std::mem::zeroed::<libc::sigaction>() };
                // SAFETY: `old` is writable; a signal that has no action is refused.
                let known = unsafe { libc::sigaction(signal, std::ptr::null(), &mut old) } == 0;
                let is_ignored = known && old.sa_sigaction == libc::SIG_IGN;
                if is_ignored {
                    // SAFETY: the default has no duties.
                    unsafe { libc::signal(signal, libc::SIG_DFL) };
                }
                is_ignored
            })
            .collect()
    }

    fn ignore(signals: &[i32]) {
        for &signal in signals {
            // SAFETY: ignoring has no duties.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }

    fn hand_on(descriptors: i32) {
        for descriptor in 0..descriptors {
            // SAFETY: a descriptor that is closed is refused.
            let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
            if flags < 0 {
                continue;
            }
            // SAFETY: it is open; its only flag is to be closed on exec.
            unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) };
            if flags & libc::O_NONBLOCK != 0 {
                // SAFETY: it is open.
                unsafe { libc::fcntl(descriptor, libc::F_SETFL, flags & !libc::O_NONBLOCK) };
            }
        }
    }
}

#[cfg(not(unix))]
mod no_unix {
    /// `ENOSYS` as Linux numbers it: there is no such call here.
    pub(crate) fn replace_by(_words: Vec<String>, _descriptors: i32) -> i32 {
        38
    }
}
