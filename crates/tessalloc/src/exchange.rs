//! How a page changes hands: the steps that join its remote word, its owner word and the inbox of its owner's record.
//!
//! They are generic so that [`crate::models`] runs the same code on pages whose plain fields are watched.
//!
//! X1 Who leaves a page, or hands it to an adopter, has written the owner word before.
//! X2 A record's inbox was opened before its thread owns a page in state Owned.

use crate::inbox::{Inbox, Linked};
use crate::remote::{Links, List, Pushed, RemoteWord, State};
use crate::sync::{AtomicU32, AtomicUsize, Ordering};

/// Flag of the owner word: the record is right, but its thread has ended while the page was on its way into the inbox.
pub(crate) const OWNER_ENDED: usize = 1;

/// A page, as far as it changes hands. Each method reaches one field, so that nothing is claimed about the others.
pub(crate) trait Exchanged: Linked {
    /// Writes links between the page's blocks.
    type Links: Links;

    /// # Safety
    /// - `page` is a page that stands: one of its blocks is the caller's, or the page is.
    unsafe fn remote<'a>(page: *mut Self) -> &'a RemoteWord;
    /// # Safety
    /// - As for [`Exchanged::remote`].
    unsafe fn owner<'a>(page: *mut Self) -> &'a AtomicUsize;
    /// # Safety
    /// - As for [`Exchanged::remote`].
    unsafe fn claim_at<'a>(page: *mut Self) -> &'a AtomicU32;
    /// # Safety
    /// - As for [`Exchanged::remote`].
    unsafe fn links(page: *mut Self) -> Self::Links;
    /// # Safety
    /// - `record` is the address of a record, as owner words hold it.
    unsafe fn inbox<'a>(record: usize) -> &'a Inbox<Self>;
}

/// Leaves blocks with their page and sees to it that somebody finds them. `Some` if that is the caller: then it holds the page,
/// puts the list home and settles the page.
///
/// # Safety
/// - The blocks are of `page`, linked from head to tail, freed by the caller, and nobody else's.
#[inline]
pub(crate) unsafe fn send<P: Exchanged>(page: *mut P, list: List) -> Option<List> {
    // SAFETY: the caller's duty: the page has blocks that are handed out, so it stands.
    unsafe {
        // ORDER: Relaxed: written before the Release in `leave`, which the Acquire in `push` has met when it reads for good.
        match P::remote(page).push(list, &P::links(page), || P::claim_at(page).load(Ordering::Relaxed)) {
            Pushed::Left => None,
            Pushed::Claimed => Some(List::EMPTY),
            Pushed::Post => {
                // ORDER: Relaxed: the Acquire in `push` met the Release with which the word became Owned; the owner word was
                // written (X1) and the inbox opened (X2) before that. A word with `OWNER_ENDED` leads to the same inbox.
                let record = P::owner(page).load(Ordering::Relaxed) & !OWNER_ENDED;
                // R3: the owner keeps its tie to the page until it has it out of its inbox. Records are never unmapped.
                // If it has ended, the page is the caller's.
                if P::inbox(record).push(page) { None } else { Some(P::remote(page).take(State::Held)) }
            }
        }
    }
}

/// The owner's first step of letting a page go: from here it holds the page by its remote word. False if a push has posted the
/// page: then it stays owned.
///
/// # Safety
/// - The caller owns the page, inside its gate.
#[inline]
pub(crate) unsafe fn let_go<P: Exchanged>(page: *mut P) -> bool {
    // SAFETY: the caller's duty.
    unsafe {
        if !P::remote(page).hold() {
            return false;
        }
        disown(page);
    }
    true
}

/// Clears the owner word of a page that the caller holds by its remote word.
///
/// # Safety
/// - The caller holds the page.
#[inline]
pub(crate) unsafe fn disown<P: Exchanged>(page: *mut P) {
    // SAFETY: the caller's duty.
    // ORDER: Relaxed: nobody acts on the owner of a held page; `leave` or the list publishes it.
    unsafe { P::owner(page).store(0, Ordering::Relaxed) };
}

/// The owner's last step with a page that is posted while its thread ends. Who finds the page in the inbox, or the inbox closed,
/// settles it; the record's next thread must not take it for its own meanwhile.
///
/// # Safety
/// - [`let_go`] has returned false, the inbox is open still, and the caller touches the page no more unless it finds it there.
#[inline]
pub(crate) unsafe fn orphan<P: Exchanged>(page: *mut P, record: usize) {
    // SAFETY: the caller's duty.
    // ORDER: Relaxed: either value leads the push to the same inbox.
    unsafe { P::owner(page).store(record | OWNER_ENDED, Ordering::Relaxed) };
}

/// The holder's last step: nobody owns the page until `claim_at` blocks have come home. False, and still held, if they are there.
///
/// # Safety
/// - The caller holds the page by its remote word, and touches it no more after true.
#[inline]
pub(crate) unsafe fn leave<P: Exchanged>(page: *mut P, claim_at: u32) -> bool {
    // SAFETY: the caller's duty.
    unsafe {
        // ORDER: Relaxed: published by the Release in `leave`.
        P::claim_at(page).store(claim_at, Ordering::Relaxed);
        P::remote(page).leave(claim_at)
    }
}

/// The end of a look at a page that was ownerless when it was claimed: it is so again. False, and still held, if enough has come
/// home in the meantime.
///
/// # Safety
/// - As for [`leave`], after [`RemoteWord::claim`].
pub(crate) unsafe fn leave_again<P: Exchanged>(page: *mut P) -> bool {
    // SAFETY: the caller's duty. ORDER: Relaxed: acquired by the claim.
    unsafe { leave(page, P::claim_at(page).load(Ordering::Relaxed)) }
}

/// Makes a held page the adopter's, with the list that has come.
///
/// # Safety
/// - The caller holds the page by its remote word, and its record's inbox is open (X2).
#[inline]
pub(crate) unsafe fn adopt<P: Exchanged>(page: *mut P, record: usize) -> List {
    // SAFETY: the caller's duty.
    unsafe {
        // ORDER: Relaxed: published by the Release in `take`, which lets pushes post (X1).
        P::owner(page).store(record, Ordering::Relaxed);
        P::remote(page).take(State::Owned)
    }
}
