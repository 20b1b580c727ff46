//! The operators' assembly for x86-64 (System V): arguments in rdi, rsi, rdx; rax and r11 are the scratch registers.
//! At a function's entry the stack is 8 off a multiple of 16.

/// The address of a weak name, or 0.
macro_rules! weak_address_text {
    ($name:literal) => {
        concat!(".weak ", $name, "\n.cfi_startproc\nmov rax, qword ptr [rip + ", $name, "@GOTPCREL]\nret\n.cfi_endproc")
    };
}

macro_rules! jump_text {
    () => {
        ".cfi_startproc\njmp {target}\n.cfi_endproc"
    };
}

macro_rules! jump_public_text {
    ($target:literal) => {
        concat!(".cfi_startproc\njmp qword ptr [rip + ", $target, "@GOTPCREL]\n.cfi_endproc")
    };
}

macro_rules! drop_second_jump_public_text {
    ($target:literal) => {
        concat!(".cfi_startproc\nmov rsi, rdx\njmp qword ptr [rip + ", $target, "@GOTPCREL]\n.cfi_endproc")
    };
}

macro_rules! new_text {
    () => {
        ".cfi_startproc
        push rdi
        .cfi_def_cfa_offset 16
        call {block}
        pop rdi
        .cfi_def_cfa_offset 8
        test rax, rax
        je 2f
        ret
    2:  mov esi, 16
        jmp {slow}
        .cfi_endproc"
    };
}

macro_rules! new_aligned_text {
    () => {
        ".cfi_startproc
        push rdi
        .cfi_def_cfa_offset 16
        push rsi
        .cfi_def_cfa_offset 24
        sub rsp, 8
        .cfi_def_cfa_offset 32
        call {block}
        add rsp, 8
        .cfi_def_cfa_offset 24
        pop rsi
        .cfi_def_cfa_offset 16
        pop rdi
        .cfi_def_cfa_offset 8
        test rax, rax
        je 2f
        ret
    2:  jmp {slow}
        .cfi_endproc"
    };
}

macro_rules! new_slow_text {
    () => {
        ".cfi_startproc
        push rdi
        .cfi_def_cfa_offset 16
        push rsi
        .cfi_def_cfa_offset 24
        sub rsp, 8
        .cfi_def_cfa_offset 32
    2:  call {handler}
        test rax, rax
        je 3f
        call rax
        mov rdi, qword ptr [rsp + 16]
        mov rsi, qword ptr [rsp + 8]
        call {retry}
        test rax, rax
        je 2b
        add rsp, 24
        .cfi_def_cfa_offset 8
        ret
    3:  .cfi_def_cfa_offset 32
        call {thrower}
        add rsp, 24
        .cfi_def_cfa_offset 8
        jmp rax
        .cfi_endproc"
    };
}

macro_rules! throw_by_hand_text {
    () => {
        ".cfi_startproc
        .weak _ZNSt9bad_allocD1Ev
        sub rsp, 8
        .cfi_def_cfa_offset 16
        mov edi, 8
        call qword ptr [rip + __cxa_allocate_exception@GOTPCREL]
        mov rcx, qword ptr [rip + _ZTVSt9bad_alloc@GOTPCREL]
        add rcx, 16
        mov qword ptr [rax], rcx
        mov rdi, rax
        mov rsi, qword ptr [rip + _ZTISt9bad_alloc@GOTPCREL]
        mov rdx, qword ptr [rip + _ZNSt9bad_allocD1Ev@GOTPCREL]
        call qword ptr [rip + __cxa_throw@GOTPCREL]
        ud2
        .cfi_endproc"
    };
}

/// The throwing form's address to rax, the core's function to r11.
macro_rules! nothrow_text {
    ($target:literal) => {
        concat!(
            ".cfi_startproc\nmov rax, qword ptr [rip + ",
            $target,
            "@GOTPCREL]\nlea r11, [rip + {plain}]\njmp {shared}\n.cfi_endproc"
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
        sub rsp, 8
        .cfi_def_cfa_offset 16
        mov rcx, qword ptr [rip + __cxa_begin_catch@GOTPCREL]
        test rcx, rcx
        cmove rax, r11
    .Ltessalloc_call_begin:
        call rax
    .Ltessalloc_call_end:
        add rsp, 8
        .cfi_def_cfa_offset 8
        ret
    .Ltessalloc_caught:
        .cfi_def_cfa_offset 16
        mov rdi, rax
        call qword ptr [rip + __cxa_begin_catch@GOTPCREL]
        call qword ptr [rip + __cxa_end_catch@GOTPCREL]
        xor eax, eax
        add rsp, 8
        .cfi_def_cfa_offset 8
        ret
        .cfi_endproc
        .pushsection .data.rel.ro.tessalloc, \"aw\", @progbits
        .balign 8
    .Ltessalloc_personality:
        .quad __gxx_personality_v0
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
