//! What is the same where there is no fork, or none that could go unnoticed.

/// True: nothing is to be handled.
pub(crate) fn at_fork(
    _prepare: unsafe extern "C" fn(),
    _parent: unsafe extern "C" fn(),
    _child: unsafe extern "C" fn(),
) -> bool {
    true
}
