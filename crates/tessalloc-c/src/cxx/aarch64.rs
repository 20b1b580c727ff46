//! The operators' assembly for aarch64 (AAPCS64): arguments in x0, x1, x2; x16 and x17 are the scratch registers.

/// The address of a weak name, or 0.
macro_rules! weak_address_text {
    ($name:literal) => {
        concat!(
            ".weak ",
            $name,
            "\n.cfi_startproc\nadrp x0, :got:",
            $name,
            "\nldr x0, [x0, :got_lo12:",
            $name,
            "]\nret\n.cfi_endproc"
        )
    };
}

macro_rules! jump_text {
    () => {
        ".cfi_startproc\nb {target}\n.cfi_endproc"
    };
}

macro_rules! jump_public_text {
    ($target:literal) => {
        concat!(
            ".cfi_startproc\nadrp x16, :got:",
            $target,
            "\nldr x16, [x16, :got_lo12:",
            $target,
            "]\nbr x16\n.cfi_endproc"
        )
    };
}

macro_rules! drop_second_jump_public_text {
    ($target:literal) => {
        concat!(
            ".cfi_startproc\nmov x1, x2\nadrp x16, :got:",
            $target,
            "\nldr x16, [x16, :got_lo12:",
            $target,
            "]\nbr x16\n.cfi_endproc"
        )
    };
}

macro_rules! new_text {
    () => {
        ".cfi_startproc
        stp x29, x30, [sp, #-32]!
        .cfi_def_cfa_offset 32
        .cfi_offset 29, -32
        .cfi_offset 30, -24
        str x0, [sp, #16]
        bl {block}
        mov x16, x0
        ldr x0, [sp, #16]
        ldp x29, x30, [sp], #32
        .cfi_def_cfa_offset 0
        .cfi_restore 29
        .cfi_restore 30
        cbz x16, 2f
        mov x0, x16
        ret
    2:  mov x1, #16
        b {slow}
        .cfi_endproc"
    };
}

macro_rules! new_aligned_text {
    () => {
        ".cfi_startproc
        stp x29, x30, [sp, #-32]!
        .cfi_def_cfa_offset 32
        .cfi_offset 29, -32
        .cfi_offset 30, -24
        stp x0, x1, [sp, #16]
        bl {block}
        mov x16, x0
        ldp x0, x1, [sp, #16]
        ldp x29, x30, [sp], #32
        .cfi_def_cfa_offset 0
        .cfi_restore 29
        .cfi_restore 30
        cbz x16, 2f
        mov x0, x16
        ret
    2:  b {slow}
        .cfi_endproc"
    };
}

macro_rules! new_slow_text {
    () => {
        ".cfi_startproc
        stp x29, x30, [sp, #-32]!
        .cfi_def_cfa_offset 32
        .cfi_offset 29, -32
        .cfi_offset 30, -24
        stp x0, x1, [sp, #16]
    2:  bl {handler}
        cbz x0, 3f
        blr x0
        ldp x0, x1, [sp, #16]
        bl {retry}
        cbz x0, 2b
        .cfi_remember_state
        ldp x29, x30, [sp], #32
        .cfi_def_cfa_offset 0
        .cfi_restore 29
        .cfi_restore 30
        ret
    3:  .cfi_restore_state
        bl {thrower}
        mov x16, x0
        ldp x29, x30, [sp], #32
        .cfi_def_cfa_offset 0
        .cfi_restore 29
        .cfi_restore 30
        br x16
        .cfi_endproc"
    };
}

macro_rules! throw_by_hand_text {
    () => {
        ".cfi_startproc
        .weak _ZNSt9bad_allocD1Ev
        stp x29, x30, [sp, #-16]!
        .cfi_def_cfa_offset 16
        .cfi_offset 29, -16
        .cfi_offset 30, -8
        mov x0, #8
        bl __cxa_allocate_exception
        adrp x1, :got:_ZTVSt9bad_alloc
        ldr x1, [x1, :got_lo12:_ZTVSt9bad_alloc]
        add x1, x1, #16
        str x1, [x0]
        adrp x1, :got:_ZTISt9bad_alloc
        ldr x1, [x1, :got_lo12:_ZTISt9bad_alloc]
        adrp x2, :got:_ZNSt9bad_allocD1Ev
        ldr x2, [x2, :got_lo12:_ZNSt9bad_allocD1Ev]
        bl __cxa_throw
        brk #1
        .cfi_endproc"
    };
}

/// The throwing form's address to x16, the core's function to x17.
macro_rules! nothrow_text {
    ($target:literal) => {
        concat!(
            ".cfi_startproc\nadrp x16, :got:",
            $target,
            "\nldr x16, [x16, :got_lo12:",
            $target,
            "]\nadrp x17, {plain}\nadd x17, x17, :lo12:{plain}\nb {shared}\n.cfi_endproc"
        )
    };
}

/// The table after the code: one call site whose landing pad catches everything (type 0).
macro_rules! without_throw_text {
    () => {
        ".cfi_startproc
        .weak __gxx_personality_v0
        .weak __cxa_begin_catch
        .weak __cxa_end_catch
        .cfi_personality 0x9b, .Ltessalloc_personality
        .cfi_lsda 0x1b, .Ltessalloc_call_sites
    .Ltessalloc_without_throw:
        stp x29, x30, [sp, #-16]!
        .cfi_def_cfa_offset 16
        .cfi_offset 29, -16
        .cfi_offset 30, -8
        adrp x9, :got:__cxa_begin_catch
        ldr x9, [x9, :got_lo12:__cxa_begin_catch]
        cmp x9, #0
        csel x16, x17, x16, eq
    .Ltessalloc_call_begin:
        blr x16
    .Ltessalloc_call_end:
        .cfi_remember_state
        ldp x29, x30, [sp], #16
        .cfi_def_cfa_offset 0
        .cfi_restore 29
        .cfi_restore 30
        ret
    .Ltessalloc_caught:
        .cfi_restore_state
        bl __cxa_begin_catch
        bl __cxa_end_catch
        mov x0, #0
        ldp x29, x30, [sp], #16
        .cfi_def_cfa_offset 0
        .cfi_restore 29
        .cfi_restore 30
        ret
        .cfi_endproc
        .pushsection .data.rel.ro.tessalloc, \"aw\", @progbits
        .balign 8
    .Ltessalloc_personality:
        .xword __gxx_personality_v0
        .popsection
        .pushsection .gcc_except_table.tessalloc, \"a\", @progbits
        .balign 4
    .Ltessalloc_call_sites:
        .byte 0xff
        .byte 0x9b
        .uleb128 .Ltessalloc_types_end - .Ltessalloc_types_from
    .Ltessalloc_types_from:
        .byte 0x01
        .uleb128 .Ltessalloc_sites_end - .Ltessalloc_sites
    .Ltessalloc_sites:
        .uleb128 .Ltessalloc_call_begin - .Ltessalloc_without_throw
        .uleb128 .Ltessalloc_call_end - .Ltessalloc_call_begin
        .uleb128 .Ltessalloc_caught - .Ltessalloc_without_throw
        .uleb128 1
    .Ltessalloc_sites_end:
        .byte 1
        .byte 0
        .balign 4
        .long 0
    .Ltessalloc_types_end:
        .popsection"
    };
}
