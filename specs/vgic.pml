/* A vCPU's CPU interface is reset in the VGIC while nobody is in KVM_RUN, for SPIN.
 *
 * What backends/kvm/hpcore_kvm_qemu/interposer/gate.c, gic.c and run.c do, written independently of
 * them: vCPU threads run and leave KVM_RUN, hpcore asks for resets of the interfaces of two of
 * them, QEMU stops all. One step is one access of shared memory, or one ioctl.
 *
 *     spin -a vgic.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan -m100000
 *
 * -DVCPUS=3 -DSTOPS=1 -DASKS=1 say how many and how often; -DVCPUS=3 -DSTOPS=0 are 22,526,427
 * states, in 2 GB. Memory is in order here: the C asks for that where it matters. Left out: holds
 * and forces, see cpu_on.pml.
 */
#ifndef VCPUS
#define VCPUS 2
#endif
#ifndef STOPS
#define STOPS 1
#endif
#ifndef ASKS
#define ASKS 1
#endif

#define NOBODY 9

bool closed;                /* the gate */
bool inside[VCPUS];         /* each thread's own word: in KVM_RUN, or about to be */
bool running[VCPUS];        /* it is in KVM_RUN in fact */
byte lock = NOBODY;         /* the interposer's */

byte asked[VCPUS];          /* hpcore's count, and how far it was followed */
byte done[VCPUS];
bool dirty[2];              /* hpcore has asked, and nothing was written since */
byte asks[2];               /* that hpcore may still make, of vCPU 0 and 1 */
byte stops = STOPS, exits = 1;

bool immediate_exit[VCPUS];
bool unsettled[VCPUS];      /* KVM has an access to finish at the next KVM_RUN */
bool finished[VCPUS];       /* one such access was made: enough */
bool out[VCPUS];
bool stopping;

#if VCPUS == 2
#define nobody_runs (!running[0] && !running[1])
#define all_are_out (out[0] && out[1])
#else
#define nobody_runs (!running[0] && !running[1] && !running[2])
#define all_are_out (out[0] && out[1] && out[2])
#endif

#define kick(i) immediate_exit[i] = true

/* KVM: EBUSY, which must not be for a vCPU in KVM_RUN. */
inline write_registers(me) {
  assert(nobody_runs); dirty[me] = false
}

/* gate_close and gic_reset, with the lock held, on the thread of `me` */
inline reset_interface(me) {
  d_step { wanted = asked[me] };
  d_step { closed = true };
  other = 0;
  do
  :: other < VCPUS ->
    if
    :: atomic { !inside[other] -> other++ }
    :: atomic { inside[other] && immediate_exit[me] -> break }
    :: atomic { inside[other] && !immediate_exit[other] -> kick(other) }
    fi
  :: other == VCPUS -> break
  od;
  if
  :: other == VCPUS ->
    d_step { write_registers(me) };
    d_step { write_registers(me) };
    d_step { closed = false };
    d_step { done[me] = wanted }
  :: else -> d_step { closed = false }
  fi;
  other = 0; wanted = 0
}

/* What is done with the lock: the reset, where QEMU does not want the thread. */
inline serve(me) {
  if
  :: asked[me] != done[me] ->
    atomic { lock == NOBODY -> lock = me };
    if
    :: asked[me] != done[me] && !immediate_exit[me] -> reset_interface(me)
    :: else -> skip
    fi;
    d_step { lock = NOBODY }
  :: else -> skip
  fi
}

/* gate_enter */
inline enter(me) {
  d_step { inside[me] = true };
  if
  :: !closed -> entered = true
  :: else -> d_step { inside[me] = false }
  fi
}

proctype Vcpu(byte me) {
  byte other, wanted;
  bool entered;
end:
  do
  /* QEMU: it clears immediate_exit, then looks whether it is to stop */
  :: atomic { out[me] && immediate_exit[me] -> immediate_exit[me] = false }
  :: atomic { out[me] && !immediate_exit[me] && !stopping -> out[me] = false };
again:
    if
    :: unsettled[me] ->
      if
      :: asked[me] != done[me] -> kick(me)
      :: else -> skip
      fi;
      do
      :: !entered -> enter(me)
      :: entered -> break
      od
    :: else ->
      do
      :: !entered ->
        serve(me);
        enter(me);
        if
        :: !entered && immediate_exit[me] -> break
        :: !entered && !immediate_exit[me] -> (!closed || immediate_exit[me])   /* gate_wait */
        :: entered -> skip
        fi
      :: entered -> break
      od
    fi;
    if
    :: entered ->
      d_step { running[me] = true; unsettled[me] = false };
end_inside:
      if
      :: atomic { immediate_exit[me] -> running[me] = false }
      :: atomic { !immediate_exit[me] && exits > 0 ->           /* an exit that is QEMU's */
           running[me] = false; exits-- }
      :: atomic { !immediate_exit[me] && !finished[me] ->       /* a load that is QEMU's */
           running[me] = false; unsettled[me] = true; finished[me] = true }
      fi;
      d_step { inside[me] = false; entered = false };
      if
      :: !unsettled[me] -> serve(me)
      :: else -> goto again     /* QEMU, which wants nothing, comes back at once */
      fi
    :: else -> skip
    fi;
    atomic { out[me] = true }
  od
}

proctype Qemu() {
end:
  do
  :: atomic { stops > 0 -> stops--; stopping = true; kick(0); kick(1); kick(VCPUS - 1) };
    all_are_out;
    assert(nobody_runs && !closed && lock == NOBODY);
    atomic { stopping = false }
  od
}

/* It counts, then sends a signal; and what it asked for is done in the end. */
proctype Hpcore() {
end:
  do
  :: atomic { asks[0] > 0 -> asks[0]--; asked[0]++; dirty[0] = true }; d_step { kick(0) }
  :: atomic { asks[1] > 0 -> asks[1]--; asked[1]++; dirty[1] = true }; d_step { kick(1) }
  od
}

/* Where nothing can happen any more, nothing is left to do. */
proctype End() {
  timeout ->
    assert(done[0] == asked[0] && done[1] == asked[1] && !dirty[0] && !dirty[1] && !closed)
}

init {
  atomic {
    out[0] = true; out[1] = true; out[VCPUS - 1] = true;
    asks[0] = ASKS; asks[1] = ASKS;
    run Vcpu(0); run Vcpu(1);
#if VCPUS == 3
    run Vcpu(2);
#endif
    run Qemu(); run Hpcore(); run End()
  }
}
