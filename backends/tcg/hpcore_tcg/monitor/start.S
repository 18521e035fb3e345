// Entry and exception vectors. Runs in place from flash at 0.

        .macro  SAVE                        // what a C function may change (AAPCS64)
        sub     sp, sp, #FRAME_SIZE
        stp     x0, x1, [sp, #0]
        stp     x2, x3, [sp, #16]
        stp     x4, x5, [sp, #32]
        stp     x6, x7, [sp, #48]
        stp     x8, x9, [sp, #64]
        stp     x10, x11, [sp, #80]
        stp     x12, x13, [sp, #96]
        stp     x14, x15, [sp, #112]
        stp     x16, x17, [sp, #128]
        stp     x18, x30, [sp, #144]
        .endm
        .macro  RESTORE_AND_RETURN
        ldp     x0, x1, [sp, #0]
        ldp     x2, x3, [sp, #16]
        ldp     x4, x5, [sp, #32]
        ldp     x6, x7, [sp, #48]
        ldp     x8, x9, [sp, #64]
        ldp     x10, x11, [sp, #80]
        ldp     x12, x13, [sp, #96]
        ldp     x14, x15, [sp, #112]
        ldp     x16, x17, [sp, #128]
        ldp     x18, x30, [sp, #144]
        add     sp, sp, #FRAME_SIZE
        eret
        .endm
        .macro  VECTOR target
        .balign 128
        b       \target
        .endm
        .equ    FRAME_SIZE, 160

        .section .text.boot, "ax"
        .global _start
_start: msr     daifset, #15
        ldr     x0, =vectors
        msr     vbar_el3, x0
        ldr     x0, =0x30c50830             // SCTLR_EL3: the RES1 bits; MMU and caches off
        msr     sctlr_el3, x0
        msr     cptr_el3, xzr
        msr     mdcr_el3, xzr
        ldr     x0, =0x435                  // SCR_EL3: RW, FIQ to EL3, RES1, NS
        msr     scr_el3, x0
        isb
        mrs     x0, mpidr_el1               // which vCPU: Aff1 * 16 + Aff0, as `virt` has it
        and     x1, x0, #0xff
        ubfx    x2, x0, #8, #8
        add     x0, x1, x2, lsl #4
        msr     tpidr_el3, x0
        bl      enter_own_stack
        bl      vcpu_main                   // does not return

        .text
from_guest_sync:
        SAVE
        mov     x0, sp
        bl      vcpu_trap_from_guest
        RESTORE_AND_RETURN
from_guest_fiq:
        SAVE
        bl      vcpu_interrupt_from_guest
        RESTORE_AND_RETURN
from_monitor:
        SAVE
        bl      vcpu_trap_from_monitor
        RESTORE_AND_RETURN

        .balign 2048
vectors:
        .rept 8                             // from EL3 itself: only a probe may fault
        VECTOR  from_monitor
        .endr
        .rept 2                             // from the guest: AArch64, then AArch32
        VECTOR  from_guest_sync
        VECTOR  from_monitor                // IRQ and SError are not routed here
        VECTOR  from_guest_fiq
        VECTOR  from_monitor
        .endr
        .balign 128
