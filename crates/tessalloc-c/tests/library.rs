//! The library's files: what they need, what they export, how they reach their thread local, and that no exported function
//! leads back into the exported malloc.
mod support;
use std::collections::BTreeSet;
use std::process::Command;
use support::*;

/// Everything that the library may export.
const EXPORTS: &[&str] = &[
    // malloc.rs
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "free",
    "cfree",
    "free_sized",
    "free_aligned_sized",
    "aligned_alloc",
    "memalign",
    "posix_memalign",
    "valloc",
    "pvalloc",
    "malloc_usable_size",
    "__libc_malloc",
    "__libc_calloc",
    "__libc_free",
    "__libc_realloc",
    "__libc_memalign",
    "__libc_valloc",
    "__libc_pvalloc",
    "__posix_memalign",
    // info.rs
    "mallinfo",
    "mallinfo2",
    "mallopt",
    "malloc_trim",
    "malloc_info",
    "malloc_stats",
    "__libc_mallinfo2",
    "__libc_mallopt",
    // own.rs
    "tessalloc_version",
    "tessalloc_stats",
    "tessalloc_purge",
    "tessalloc_is_ours",
    "tessalloc_good_size",
    "tessalloc_malloc",
    "tessalloc_calloc",
    "tessalloc_realloc",
    "tessalloc_aligned_alloc",
    "tessalloc_free",
    "tessalloc_usable_size",
    "tessalloc_table_v1",
    "tessalloc_view_v1",
    // alloc.rs
    "tessalloc_zalloc",
    "tessalloc_mallocn",
    "tessalloc_zallocn",
    "tessalloc_malloc_aligned",
    "tessalloc_zalloc_aligned",
    "tessalloc_calloc_aligned",
    "tessalloc_malloc_aligned_at",
    "tessalloc_zalloc_aligned_at",
    "tessalloc_calloc_aligned_at",
    "tessalloc_reallocn",
    "tessalloc_reallocf",
    "tessalloc_rezalloc",
    "tessalloc_recalloc",
    "tessalloc_realloc_aligned",
    "tessalloc_rezalloc_aligned",
    "tessalloc_recalloc_aligned",
    "tessalloc_realloc_aligned_at",
    "tessalloc_rezalloc_aligned_at",
    "tessalloc_recalloc_aligned_at",
    "tessalloc_expand",
    "tessalloc_reallocarr",
    "tessalloc_malloc_sized",
    "tessalloc_zalloc_sized",
    "tessalloc_malloc_aligned_sized",
    "tessalloc_zalloc_aligned_sized",
    "tessalloc_realloc_sized",
    "tessalloc_free_size",
    "tessalloc_free_aligned",
    "tessalloc_free_size_aligned",
    "tessalloc_cfree",
    "tessalloc_malloc_batch",
    "tessalloc_free_batch",
    "tessalloc_strdup",
    "tessalloc_strndup",
    "tessalloc_realpath",
    // arena.rs
    "tessalloc_arena_reserve",
    "tessalloc_arena_manage",
    "tessalloc_arena_release",
    "tessalloc_arena_area",
    "tessalloc_arena_contains",
    "tessalloc_arena_info",
    "tessalloc_arenas_visit",
    "tessalloc_arena_align",
    "tessalloc_arena_bytes_min",
    "tessalloc_arena_bytes_max",
    // buffer.rs
    "tessalloc_buffer_over",
    "tessalloc_buffer_malloc",
    "tessalloc_buffer_calloc",
    "tessalloc_buffer_aligned_alloc",
    "tessalloc_buffer_realloc",
    "tessalloc_buffer_free",
    "tessalloc_buffer_usable_size",
    "tessalloc_buffer_stats",
    // heap.rs
    "tessalloc_heap_new",
    "tessalloc_heap_new_with",
    "tessalloc_heap_main",
    "tessalloc_heap_delete",
    "tessalloc_heap_destroy",
    "tessalloc_heap_clear",
    "tessalloc_heap_purge",
    "tessalloc_heap_malloc",
    "tessalloc_heap_zalloc",
    "tessalloc_heap_calloc",
    "tessalloc_heap_mallocn",
    "tessalloc_heap_malloc_aligned",
    "tessalloc_heap_zalloc_aligned",
    "tessalloc_heap_calloc_aligned",
    "tessalloc_heap_malloc_aligned_at",
    "tessalloc_heap_zalloc_aligned_at",
    "tessalloc_heap_calloc_aligned_at",
    "tessalloc_heap_realloc",
    "tessalloc_heap_reallocn",
    "tessalloc_heap_reallocf",
    "tessalloc_heap_rezalloc",
    "tessalloc_heap_recalloc",
    "tessalloc_heap_realloc_aligned",
    "tessalloc_heap_rezalloc_aligned",
    "tessalloc_heap_recalloc_aligned",
    "tessalloc_heap_realloc_aligned_at",
    "tessalloc_heap_rezalloc_aligned_at",
    "tessalloc_heap_recalloc_aligned_at",
    "tessalloc_heap_malloc_batch",
    "tessalloc_heap_strdup",
    "tessalloc_heap_strndup",
    "tessalloc_heap_realpath",
    "tessalloc_heap_free",
    "tessalloc_heap_of",
    "tessalloc_heap_contains",
    "tessalloc_heap_allocated_bytes",
    "tessalloc_heap_name",
    "tessalloc_heap_tag",
    "tessalloc_heap_id",
    "tessalloc_heap_count",
    "tessalloc_heap_visit_blocks",
    "tessalloc_visit_heaps",
    // options.rs
    "tessalloc_option_count",
    "tessalloc_option_name",
    "tessalloc_option_find",
    "tessalloc_option_get",
    "tessalloc_option_set",
    "tessalloc_option_set_text",
    "tessalloc_option_info",
    "tessalloc_options_print",
    // pressure.rs
    "tessalloc_set_limits",
    "tessalloc_on_pressure",
    // profile.rs
    "tessalloc_profile_start",
    "tessalloc_profile_stop",
    "tessalloc_profile_is_on",
    "tessalloc_profile_set_unwinder",
    "tessalloc_profile_totals",
    "tessalloc_profile_visit",
    "tessalloc_profile_write",
    "tessalloc_profile_dump",
    // guarded.rs
    "tessalloc_guarded_start",
    "tessalloc_guarded_stop",
    "tessalloc_guarded_is_on",
    "tessalloc_guarded_options",
    // stats.rs
    "tessalloc_process_info",
    "tessalloc_page_stats",
    "tessalloc_thread_totals",
    "tessalloc_ctl",
    "tessalloc_stats_json",
    "tessalloc_heap_stats",
    "tessalloc_heap_page_stats",
    "tessalloc_heap_stats_json",
    "tessalloc_heap_stats_print",
    "tessalloc_stats_print",
    "tessalloc_process_print",
    "tessalloc_set_output",
    "tessalloc_set_on_error",
    // walk.rs
    "tessalloc_visit_pages",
    "tessalloc_visit_blocks",
    "tessalloc_visit_blocks_exactly",
    "tessalloc_thread_id",
    "tessalloc_thread_is_alive",
    "tessalloc_thread_idle",
    "tessalloc_thread_purge",
    "tessalloc_set_deferred_free",
    // cxx.rs: new
    "_Znwm",
    "_Znam",
    "_ZnwmRKSt9nothrow_t",
    "_ZnamRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
    // cxx.rs: delete
    "_ZdlPv",
    "_ZdaPv",
    "_ZdlPvm",
    "_ZdaPvm",
    "_ZdlPvRKSt9nothrow_t",
    "_ZdaPvRKSt9nothrow_t",
    "_ZdlPvSt11align_val_t",
    "_ZdaPvSt11align_val_t",
    "_ZdlPvmSt11align_val_t",
    "_ZdaPvmSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t",
];

/// Names of the allocator's faces: a call of one from inside would recurse, or leave for somebody else's malloc.
fn is_face(name: &str) -> bool {
    EXPORTS.contains(&name)
}

fn tool(name: &str, arguments: &[&str]) -> String {
    must(Command::new(name).env("LC_ALL", "C").args(arguments).arg(&library().shared))
}

#[test]
fn shared_library_needs_libc_only() {
    let dynamic = tool("readelf", &["--dynamic", "--wide"]);
    let needed: Vec<&str> = dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .map(|line| line.split(['[', ']']).nth(1).expect("readelf names the library in brackets"))
        .collect();
    assert!(needed.contains(&"libc.so.6"), "{dynamic}");
    let loader = |name: &str| name.starts_with("ld-linux");
    assert!(needed.iter().all(|&name| name == "libc.so.6" || loader(name)), "needs more than libc: {needed:?}");
    assert!(dynamic.contains("[libtessalloc.so]"), "the library has no name of its own: {dynamic}");
}

#[test]
fn shared_library_exports_exactly_the_intended_names() {
    let listing = tool("nm", &["--dynamic", "--defined-only"]);
    let exported: BTreeSet<&str> = listing.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(exported, EXPORTS.iter().copied().collect());
}

#[test]
fn archive_shows_the_same_names_to_the_linker() {
    let listing = must(Command::new("nm").args(["--defined-only", "--extern-only"]).arg(&library().archive));
    let shown: BTreeSet<&str> = listing.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    for name in EXPORTS {
        assert!(shown.contains(name), "the archive lacks {name}");
    }
    // What else there is are mangled names of Rust and the compiler's own routines, none of which a C program can mean.
    let runtime = must(Command::new("readelf").args(["--symbols", "--wide"]).arg(&library().archive));
    let visible: BTreeSet<&str> = runtime
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row.len() == 8 && row[4] == "GLOBAL" && row[5] == "DEFAULT" && row[6] != "UND")
        .map(|row| row[7])
        .collect();
    let strange: Vec<_> =
        visible.iter().filter(|name| !is_face(name) && !name.starts_with("_ZN") && !name.starts_with("_R")).collect();
    let ours = |name: &&&&str| !["rust_eh_personality", "rust_begin_unwind"].contains(name);
    assert!(!strange.iter().any(|name| ours(&name)), "the archive defines {strange:?}");
}

#[test]
fn thread_local_is_one_word_at_a_fixed_place() {
    let segments = tool("readelf", &["--segments", "--wide"]);
    let tls: Vec<&str> = segments.lines().filter(|line| line.trim_start().starts_with("TLS ")).collect();
    assert_eq!(tls.len(), 1, "{segments}");
    let bytes = tls[0].split_whitespace().nth(5).expect("the size in memory");
    assert_eq!(bytes, "0x000008", "the thread-local segment is not one word: {}", tls[0]);
    let dynamic = tool("readelf", &["--dynamic", "--wide"]);
    assert!(dynamic.contains("STATIC_TLS"), "the thread local is not initial-exec: {dynamic}");
    let undefined = tool("nm", &["--dynamic", "--undefined-only"]);
    assert!(!undefined.contains("__tls_get_addr"), "{undefined}");
    let relocations = tool("readelf", &["--relocs", "--wide"]);
    assert!(!relocations.contains("DTPMOD") && !relocations.contains("TLSDESC"), "{relocations}");
}

#[test]
fn nothing_inside_calls_a_face() {
    let undefined = tool("nm", &["--dynamic", "--undefined-only"]);
    for line in undefined.lines() {
        let name = line.split_whitespace().last().unwrap_or("").split('@').next().unwrap_or("");
        assert!(!is_face(name), "the library imports {name}");
    }
    // Relocations by name are how a face could be reached from inside (through the PLT or the GOT): only C++'s operators are,
    // by intent (cxx.rs).
    let relocations = tool("readelf", &["--relocs", "--wide"]);
    for line in relocations.lines() {
        for word in line.split_whitespace() {
            let name = word.split('@').next().unwrap_or("");
            assert!(!is_face(name) || name.starts_with("_Z"), "the library reaches {name} by name: {line}");
        }
    }
}

#[test]
fn malloc_and_free_do_not_call_themselves() {
    let code = tool("objdump", &["--disassemble", "--no-show-raw-insn", "--wide"]);
    let mut function = "";
    let mut instructions = 0;
    let mut seen = BTreeSet::new();
    for line in code.lines() {
        if let Some(name) = line.strip_suffix(">:").and_then(|line| line.split('<').nth(1)) {
            function = name.split('@').next().unwrap_or(name);
            seen.insert(function);
            continue;
        }
        let target = line.split('<').nth(1).and_then(|rest| rest.split(['>', '@', '+']).next());
        let (Some(target), true) = (target, line.contains("call") || line.contains("jmp") || line.contains("\tb"))
        else {
            continue;
        };
        instructions += 1;
        let inside = line.contains(&format!("<{target}+"));
        // A jump inside the function shows as <malloc+0x20>; one to its start is recursion.
        let to_face = is_face(target) && !inside && !line.contains('#');
        assert!(!to_face || function.starts_with("_Z"), "{function} goes to {target}: {line}");
    }
    assert!(instructions > 100, "the disassembly was not understood: {instructions} calls and jumps found");
    assert!(seen.contains("malloc") || seen.contains("__libc_malloc"), "no malloc in the disassembly");
}

/// A04: what a thread's word points to before the thread's start and after its end is never written: it lies in read-only memory.
#[test]
fn known_a04_sentinels_are_read_only() {
    let symbols = tool("nm", &[]);
    let sections = tool("readelf", &["--sections", "--wide"]);
    for name in ["5theap5EMPTY", "5theap5ENDED"] {
        let line = symbols.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no symbol {name}"));
        let address = u64::from_str_radix(line.split_whitespace().next().unwrap_or(""), 16).expect("nm's address");
        let holder = sections
            .lines()
            .filter_map(|line| line.split_once(']').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()))
            .filter(|row| row.len() >= 6)
            .find(|row| {
                let number = |at: usize| u64::from_str_radix(row[at], 16).unwrap_or(0);
                (number(2)..number(2) + number(4)).contains(&address) && number(2) != 0
            })
            .unwrap_or_else(|| panic!("{name} lies in no section: {sections}"));
        assert!([".rodata", ".data.rel.ro"].contains(&holder[0]), "{name} can be written: it lies in {}", holder[0]);
    }
}

/// E15: the library runs on every processor of its kind: no instruction of a later one, chosen at build time.
#[cfg(target_arch = "x86_64")]
#[test]
fn known_e15_no_instruction_above_the_baseline() {
    /// Beyond SSE2: carry-less and bit manipulation, counting, and all that needs AVX, of which names start with `v`.
    const LATER: &[&str] = &[
        "adcx",
        "adox",
        "andn",
        "bextr",
        "blsi",
        "blsmsk",
        "blsr",
        "bzhi",
        "crc32",
        "mulx",
        "movbe",
        "pclmulqdq",
        "pdep",
        "pext",
        "popcnt",
        "pshufb",
        "ptest",
        "rorx",
        "sarx",
        "shlx",
        "shrx",
        "cmpxchg16b",
        "lddqu",
        "palignr",
        "pinsrq",
    ];
    let code = tool("objdump", &["--disassemble", "--no-show-raw-insn", "--wide"]);
    let mut count = 0;
    for line in code.lines().filter(|line| line.starts_with(' ')) {
        let words = line.split_once(':').map_or("", |(_, rest)| rest).split_whitespace();
        let Some(name) =
            words.into_iter().find(|word| !["lock", "rep", "repz", "repnz", "bnd", "notrack"].contains(word))
        else {
            continue;
        };
        count += 1;
        let is_vector = name.starts_with('v') && !["verr", "verw", "vmcall"].contains(&name);
        // A name may carry the operands' width.
        let is_later =
            LATER.iter().any(|later| name == *later || name.strip_prefix(later).is_some_and(|rest| rest.len() == 1));
        assert!(!is_vector && !is_later && !line.contains("%ymm") && !line.contains("%zmm"), "{line}");
    }
    assert!(count > 10_000, "the disassembly was not understood: {count} instructions found");
}
