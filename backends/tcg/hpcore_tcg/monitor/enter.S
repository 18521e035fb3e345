// The way into the guest, and the stack that a vCPU begins with in EL3.

        .equ    STACK_SHIFT, 12             // 4 KiB of stack a vCPU

        .text
// sp becomes the top of this vCPU's own stack. x0 to x2 stay as they are.
        .global enter_own_stack
enter_own_stack:
        ldr     x3, =stacks
        mrs     x4, tpidr_el3
        add     x4, x4, #1
        add     x3, x3, x4, lsl #STACK_SHIFT
        mov     sp, x3
        ret

// enter_normal_world(entry, context): EL1 as PSCI wants it (Arm DEN0022, 6.4): MMU off,
// little endian, everything masked, context in x0, nothing of ours in another register.
        .global enter_normal_world
enter_normal_world:
        msr     elr_el3, x0
        mov     x0, x1
        bl      enter_own_stack
        ldr     x3, =0x30d00800             // SCTLR_EL1: the RES1 bits
        msr     sctlr_el1, x3
        mov     x3, #0x3c5                  // EL1h, DAIF set
        msr     spsr_el3, x3
        .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
        mov     x\n, xzr
        .endr
        isb
        eret
