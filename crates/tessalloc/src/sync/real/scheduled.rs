//! The twins under `cfg(shuttle)`: the atomics of `core`, laid out as they are, with a point before each access at which shuttle's
//! scheduler may go on with another thread. Threads take turns on one thread of the system: orderings are loom's matter.

use core::ops::Deref;
pub(crate) use core::sync::atomic::Ordering;

/// A point at which another thread may go on. Outside of a schedule there is none.
pub(crate) fn point() {
    if shuttle::current::try_get_current_task().is_some() && !std::thread::panicking() {
        // A sleep is nothing but such a point.
        shuttle::thread::sleep(core::time::Duration::ZERO);
    }
}

/// All orderings are the strongest here.
pub(crate) fn fence(_order: Ordering) {
    point();
}

macro_rules! scheduled {
    ($name:ident $(<$t:ident>)?, $value:ty $(, $number:ident)?) => {
        #[derive(Debug)]
        #[repr(transparent)]
        pub(crate) struct $name $(<$t>)? (core::sync::atomic::$name $(<$t>)?);

        impl $(<$t>)? Deref for $name $(<$t>)? {
            type Target = core::sync::atomic::$name $(<$t>)?;
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        #[allow(dead_code, reason = "each of the types is used in its own way")]
        impl $(<$t>)? $name $(<$t>)? {
            pub(crate) const fn new(value: $value) -> Self {
                Self(core::sync::atomic::$name::new(value))
            }

            pub(crate) fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                point();
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                point();
                self.0.store(value, order);
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                point();
                self.0.swap(value, order)
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                point();
                self.0.compare_exchange(current, new, success, failure)
            }

            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            pub(crate) fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut next: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut seen = self.load(fetch);
                while let Some(new) = next(seen) {
                    match self.compare_exchange(seen, new, set, fetch) {
                        Ok(old) => return Ok(old),
                        Err(now) => seen = now,
                    }
                }
                Err(seen)
            }

            $(scheduled!(@ $number fetch_add, fetch_sub, fetch_and, fetch_or, fetch_max, fetch_min);)?
        }
    };
    (@ $value:ident $($act:ident),+) => {
        $(pub(crate) fn $act(&self, value: $value, order: Ordering) -> $value {
            point();
            self.0.$act(value, order)
        })+
    };
}

scheduled!(AtomicBool, bool);
scheduled!(AtomicPtr<T>, *mut T);
scheduled!(AtomicU8, u8, u8);
scheduled!(AtomicU32, u32, u32);
scheduled!(AtomicU64, u64, u64);
scheduled!(AtomicUsize, usize, usize);
