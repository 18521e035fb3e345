/* What the interposer and hpcore share: the policy page, and messages over a socket.
 *
 * hpcore_kvm_qemu.wire has the same for Python; a test holds the two against each other. */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>

#define WIRE_VERSION 4
#define WIRE_MAGIC 0x68706770u
#define WIRE_VCPUS 512
#define WIRE_REGIONS 4
#define WIRE_LINE 64        /* bytes of a cache line */
#define WIRE_TOLD 1024      /* messages that the page remembers */

struct wire_message { uint32_t type, vcpu; uint64_t a, b, c, d; };
struct wire_answer { uint32_t type, pad; uint64_t value; };
struct wire_note { uint64_t number, reports; uint32_t resets, selector, source, rest; };

/* The policy page: shared memory, made by hpcore, passed with the answer to HELLO. Every field
 * has one writer. `magic` to `region` do not change once the page is passed. */
struct wire_page {
    /* hpcore's */
    uint32_t magic, version;
    uint32_t possible;                  /* the machine's vCPUs */
    uint32_t spi;                       /* the GED's interrupt: its INTID less 32 */
    uint32_t kept;                      /* 1: QEMU outlives hpcore, which may come back */
    uint32_t pad;
    struct { uint64_t base, size; } region[WIRE_REGIONS];   /* MMIO that is hpcore's; size 0: none */
    uint8_t granted[WIRE_VCPUS];        /* whether CPU_ON of it may succeed */
    uint32_t force[WIRE_VCPUS];         /* counts the times that it is to be off at once */
    uint32_t gic[WIRE_VCPUS];           /* counts the times that its CPU interface is to be reset */
    uint32_t allowed;                   /* the machine may run while this is `resets` + 1 */
    /* the interposer's */
    uint32_t resets;                    /* counts QEMU's resets of the machine after its start */
    struct {
        uint32_t tid;                   /* of its thread, for tgkill(2); 0 before it has run */
        uint32_t powered;
        uint32_t forced;                /* has caught up with `force`: it is off */
        uint32_t affinity;              /* the upper half of its GICR_TYPER */
        uint64_t runs;                  /* how often KVM_RUN was made */
        uint32_t gic;                   /* has caught up with `gic`: its interface is reset */
    } __attribute__((aligned(WIRE_LINE))) seen[WIRE_VCPUS];     /* no two threads share a line */
    uint64_t told;                      /* counts the messages, those that hpcore missed as well */
    uint64_t asked;                     /* the count of the one that waits for an answer, or 0 */
    struct wire_message last[WIRE_TOLD];        /* message number n, from 1 on, at n % WIRE_TOLD */
    /* hpcore's own, for one that comes back; the interposer does not look at it */
    struct wire_note note[WIRE_TOLD];   /* of message number n, at n % WIRE_TOLD */
    uint64_t did[WIRE_VCPUS + 1];       /* the last step of each vCPU, and of the machine */
};

/* One message is one packet of SOCK_SEQPACKET. Those marked ? wait for an answer. All but HELLO,
 * AGAIN and RESUMED are counted, and remembered in the page. */
enum wire_type {
    WIRE_HELLO = 1,     /* ? a: version, b: process id; carries the GED's eventfd, gets the page */
    WIRE_VM = 2,        /* a: the VM's descriptor; it has the filter */
    WIRE_VCPU = 3,      /* vcpu, a: the VM's descriptor */
    WIRE_START = 4,     /* ? a: the VM's descriptor, b: process id, c: its vCPUs; 1 lets it run */
    WIRE_READ = 5,      /* ? vcpu, a: address, b: bytes; the value */
    WIRE_WRITE = 6,     /* ? vcpu, a: address, b: bytes, c: value */
    WIRE_CPU_ON = 7,    /* vcpu: who calls, a: affinity, b: entry, c: context, d: PSCI's status */
    WIRE_CPU_OFF = 8,   /* vcpu */
    WIRE_FORCED = 9,    /* vcpu is off, because `force` said so */
    WIRE_REWOUND = 10,  /* vcpu: who calls, a: affinity; the guest will call again */
    WIRE_RESET = 11,    /* a: `resets`; QEMU has reset the machine, and it is held */
    WIRE_KEPT_OFF = 12, /* vcpu was not granted, and QEMU would have it run */
    WIRE_GIC = 13,      /* vcpu: its CPU interface is in reset state, a: `gic`, which said so */
    WIRE_AGAIN = 14,    /* ? as HELLO, to an hpcore that came back; carries eventfd and page */
    WIRE_RESUMED = 15,  /* a: `told`, b: `asked`: what hpcore has missed; the rest comes here */
};

#endif
