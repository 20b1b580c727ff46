//! The memory of the container that a Linux process runs in: what it may use, and whether it has to wait for memory.
//!
//! | what | version 2 of control groups | version 1 |
//! |------|------------------------------|-----------|
//! | the process's group | `0::PATH` in `/proc/self/cgroup` | `N:…,memory,…:PATH` |
//! | limits | `memory.max`, `memory.high` below `/sys/fs/cgroup` | `memory.limit_in_bytes` below `/sys/fs/cgroup/memory` |
//! | waiting | `memory.pressure`, else `/proc/pressure/memory` | `/proc/pressure/memory` |
//!
//! A limit of any group above counts too; inside a container the path may be the host's, and the mount's root the container's own
//! group: that is the last one asked. Files are opened, read and closed: no descriptor is held.

use super::{File, number};
use crate::os::Shortage;

/// Longer paths are left alone.
const PATH_BYTES_MAX: usize = 1024;
/// What no machine has. Unit: bytes.
const NO_LIMIT: u64 = 1 << 60;
/// Hundredths of a percent of the last 10 s in which some task waited for memory, and in which all did.
const SOME_WAITED: u64 = 1000;
const ALL_WAITED: u64 = 500;

/// The smallest limit of the process's group and those above it in bytes, if there is one.
pub(crate) fn container_limit() -> Option<u64> {
    limit_below(b"")
}

/// Whether the container, or the machine, lacks memory.
pub(crate) fn shortage() -> Shortage {
    shortage_below(b"")
}

/// Opens the file whose path is these parts together.
fn open(parts: &[&[u8]]) -> Option<File> {
    let mut path = [0u8; PATH_BYTES_MAX];
    let mut len = 0;
    for part in parts {
        path.get_mut(len..len + part.len())?.copy_from_slice(part);
        len += part.len();
    }
    File::open(core::ffi::CStr::from_bytes_until_nul(&path).ok()?)
}

/// Shows the path of each group of the process that has to do with memory, and whether it is of version 2.
fn each_group(root: &[u8], mut show: impl FnMut(&[u8], bool)) {
    let mut text = [0u8; 4096];
    let Some(file) = open(&[root, b"/proc/self/cgroup"]) else { return };
    for line in file.read(&mut text).split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let is_second = controllers.is_empty();
        if is_second || controllers.split(|byte| *byte == b',').any(|name| name == b"memory") {
            show(path, is_second);
        }
    }
}

fn limit_below(root: &[u8]) -> Option<u64> {
    let mut least: Option<u64> = None;
    each_group(root, |path, is_second| {
        let (mount, files): (&[u8], &[&[u8]]) = if is_second {
            (b"/sys/fs/cgroup", &[b"/memory.max", b"/memory.high"])
        } else {
            (b"/sys/fs/cgroup/memory", &[b"/memory.limit_in_bytes"])
        };
        let mut path = path;
        // Bound: the groups above, and the root.
        loop {
            path = path.strip_suffix(b"/").unwrap_or(path);
            for name in files {
                let mut text = [0u8; 32];
                // No limit is `max`, which is no number; in version 1 it is one beyond all memory.
                let limit = open(&[root, mount, path, name]).and_then(|file| number(file.read(&mut text)));
                let limit = limit.filter(|limit| *limit < NO_LIMIT);
                least = [least, limit].into_iter().flatten().min();
            }
            match path.iter().rposition(|byte| *byte == b'/') {
                Some(at) => path = &path[..at],
                None => break,
            }
        }
    });
    least
}

fn shortage_below(root: &[u8]) -> Shortage {
    let mut text = [0u8; 256];
    let mut own = None;
    each_group(root, |path, is_second| {
        if is_second {
            own = open(&[root, b"/sys/fs/cgroup", path.strip_suffix(b"/").unwrap_or(path), b"/memory.pressure"]);
        }
    });
    let Some(file) = own.or_else(|| open(&[root, b"/proc/pressure/memory"])) else { return Shortage::None };
    let text = file.read(&mut text);
    let of = |kind: &[u8]| {
        let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(kind))?;
        let value = line.strip_prefix(b" avg10=")?;
        let point = value.iter().position(|byte| *byte == b'.')?;
        Some(number(value)? * 100 + number(value.get(point + 1..)?)?)
    };
    if of(b"full") >= Some(ALL_WAITED) {
        Shortage::Severe
    } else if of(b"some") >= Some(SOME_WAITED) {
        Shortage::Some
    } else {
        Shortage::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::string::String;
    use std::vec::Vec;
    use std::{env, format, fs, process};

    /// A tree of files that looks like a system's.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Tree {
            let root = env::temp_dir().join(format!("tessalloc-container-{}-{name}", process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for a test");
                fs::write(path, text).expect("a file for a test");
            }
            Tree(root)
        }

        fn root(&self) -> Vec<u8> {
            String::from(self.0.to_str().expect("a path of text")).into_bytes()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn container_limit_is_the_least_of_the_group_and_those_above() {
        let tree = Tree::new(
            "second",
            &[
                ("proc/self/cgroup", "0::/pod/box\n"),
                ("sys/fs/cgroup/pod/box/memory.max", "max\n"),
                ("sys/fs/cgroup/pod/box/memory.high", "800000000\n"),
                ("sys/fs/cgroup/pod/memory.max", "536870912\n"),
                ("sys/fs/cgroup/memory.max", "900000000\n"),
            ],
        );
        assert_eq!(limit_below(&tree.root()), Some(512 << 20));
    }

    #[test]
    fn container_limit_is_found_at_the_mounts_root() {
        let tree = Tree::new(
            "inside",
            &[
                ("proc/self/cgroup", "12:cpu,cpuacct:/docker/0123\n4:hugetlb,memory:/docker/0123\n0::/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
            ],
        );
        assert_eq!(limit_below(&tree.root()), Some(256 << 20));
    }

    #[test]
    fn container_without_limit_has_none() {
        let tree = Tree::new(
            "free",
            &[
                ("proc/self/cgroup", "7:cpu:/a\n0::/a\n"),
                ("sys/fs/cgroup/a/memory.max", "max\n"),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000\n"),
            ],
        );
        assert_eq!(limit_below(&tree.root()), None);
        assert_eq!(limit_below(b"/nowhere/at/all"), None);
        let files = [
            ("proc/self/cgroup", "7:memory:/a\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limit_below(&Tree::new("free-first", &files).root()), None);
    }

    #[test]
    fn shortage_is_the_groups_own_where_it_says() {
        let calm = "some avg10=9.99 avg60=50.00 avg300=0.00 total=1\nfull avg10=4.99 avg60=9.00 avg300=0.00 total=1\n";
        let some = "some avg10=10.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
        let severe =
            "some avg10=70.12 avg60=0.00 avg300=0.00 total=1\nfull avg10=5.00 avg60=0.00 avg300=0.00 total=1\n";
        for (own, machine, expected) in [
            (Some(calm), severe, Shortage::None),
            (Some(some), calm, Shortage::Some),
            (Some(severe), calm, Shortage::Severe),
            (None, some, Shortage::Some),
            (None, "", Shortage::None),
        ] {
            let mut files = std::vec![("proc/self/cgroup", "0::/a\n"), ("proc/pressure/memory", machine)];
            files.extend(own.map(|text| ("sys/fs/cgroup/a/memory.pressure", text)));
            let tree = Tree::new("pressure", &files);
            assert_eq!(shortage_below(&tree.root()), expected, "{own:?} {machine}");
        }
    }
}
