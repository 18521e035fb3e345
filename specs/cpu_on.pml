/* CPU_ON from the caller's thread to the target's, inside of QEMU, for SPIN; and the holds.
 *
 * What backends/kvm/hpcore_kvm_qemu/interposer/call.c and run.c do, written independently of
 * hpcore/model: vCPU 0 and vCPU 1 call for vCPU 2, QEMU stops its threads and resets, hpcore
 * grants, revokes and forces, the target turns itself off. From the start and from each reset on
 * nothing runs before hpcore allows it. One d_step is what the C does under its lock, or one ioctl.
 *
 * A machine may also move: while QEMU has it stopped, another QEMU with a page of its own takes it,
 * and the processes here are that one's threads from then on.
 *
 *     spin -a cpu_on.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan -m1000000
 *
 * -DRESETS=1 -DSTOPS=2 -DFORCES=1 -DMOVES=0 say how often. Left out: a caller that is reset while its call
 * waits, which QEMU never does.
 */
#ifndef RESETS
#define RESETS 1
#endif
#ifndef STOPS
#define STOPS 2
#endif
#ifndef FORCES
#define FORCES 1
#endif

#ifndef MOVES
#define MOVES 0
#endif

#define T 2          /* the target */
#define NOBODY 3

/* a call's state, as in interposer.h */
#define CALL_NONE 0
#define CALL_POSTED 1
#define CALL_ENDED 2
#define CALL_CANCELLED 3

/* where a guest is: before its HVC, in it, behind it with an answer in x0 */
#define BEFORE 0
#define CALLING 1
#define SUCCESS 2
#define ALREADY_ON 3
#define DENIED 4
#define ON_PENDING 5

bool granted = true;
bool force_wanted;          /* hpcore's count is ahead of the target's */
byte forces = FORCES, stops = STOPS, resets = RESETS, moves = MOVES;
bool carrying;              /* hpcore moves the machine: it asks nothing of a thread meanwhile */
bool there;                 /* what the page of the other QEMU grants, before it loads the vCPU */
bool came;                  /* it has been loaded, and hpcore has not let it go on yet */

bool immediate_exit[3];
bool out[3];                /* the thread is in QEMU, and waits there while `stopping` */
bool stopping;              /* QEMU's pause of all vCPUs */

byte counted;               /* QEMU's resets of the machine: `resets` in the page */
byte allowed;               /* one more than the count that hpcore lets run; 0: none yet */
byte set_up;                /* hpcore: its state is that of the machine after so many resets */

byte guest[2];              /* vCPU 0 and 1 */
byte call[2];               /* state of the call that it makes */
byte status[2];
byte caller = NOBODY;       /* whose call waits for the target */
byte calls_made[2];

bool powered;               /* the interposer's word of the target */
bool runnable;              /* KVM's MP_STATE of it */
bool fresh;                 /* it was initialised for a call, and has not run since */
byte started[2];            /* starts for a call of this caller's that is not answered yet */

#define kick(i) immediate_exit[i] = true

/* Where the C looks whether the machine is held: in front of KVM_RUN. */
#define held (allowed != counted + 1)

/* An instruction of the guest: hpcore knows of the machine that it is in. */
inline check_runs() {
  assert(allowed == counted + 1 && set_up == counted);
  assert(!came)                                     /* a machine that moved waits for hpcore's word */
}

/* What must always be so. */
inline check_all() {
  assert(powered == runnable);                      /* AFFINITY_INFO, which is KVM's, is right */
  assert(caller == NOBODY || call[caller] == CALL_POSTED);  /* nobody waits for a call gone */
  assert((call[0] == CALL_POSTED) == (caller == 0));        /* and no call that waits is lost */
  assert((call[1] == CALL_POSTED) == (caller == 1));
  assert(started[0] <= 1 && started[1] <= 1);       /* one call, one start */
}

inline verdict(v) {
  if
  :: !granted -> v = DENIED
  :: granted && powered -> v = ALREADY_ON
  :: else -> v = SUCCESS
  fi
}

/* call_take, and what serve does before it; on the target's thread, outside of KVM_RUN */
inline serve() {
  if
  :: force_wanted ->
    runnable = false; powered = false; force_wanted = false;
    fresh = false
  :: else -> skip
  fi;
  if
  :: caller != NOBODY ->
    verdict(v);
    if
    :: v == SUCCESS ->
      assert(!powered);
      assert(granted);
      fresh = true;
      runnable = true; powered = true;
      started[caller]++
    :: else -> skip
    fi;
    status[caller] = v;
    call[caller] = CALL_ENDED;
    caller = NOBODY
  :: else -> skip
  fi;
  v = 0;
  check_all()
}

proctype Target() {
  byte v;
end:
  do
  /* QEMU: it clears immediate_exit, then looks whether it is to stop */
  :: atomic { out[T] && immediate_exit[T] -> immediate_exit[T] = false }
  :: atomic { out[T] && !immediate_exit[T] && !stopping -> out[T] = false };
    d_step { serve() };
end_held:
    do
    :: !held || immediate_exit[T] -> break
    :: atomic { held && (force_wanted || caller != NOBODY) -> d_step { serve() } }
    od;
    /* KVM_RUN: the guest runs, or the vCPU waits, until there is a kick */
end_inside:
    do
    :: d_step { !immediate_exit[T] && runnable -> fresh = false; check_runs() }
    :: d_step { !immediate_exit[T] && runnable ->                   /* CPU_OFF */
         check_runs();
         runnable = false; powered = false; fresh = false; check_all() };
       d_step { serve() }
    :: immediate_exit[T] -> break
    od;
    skip;
    d_step { serve() };
    atomic { out[T] = true }
  od
}

/* call_make: the lock is let go while it waits. */
proctype Caller(byte me) {
  byte v;
end:
  do
  :: atomic { out[me] && immediate_exit[me] -> immediate_exit[me] = false }
  :: atomic { out[me] && !immediate_exit[me] && !stopping -> out[me] = false };
end_held:
    !held || immediate_exit[me];
end_inside:
    do
    :: immediate_exit[me] -> break
    :: atomic { !immediate_exit[me] && guest[me] == BEFORE && calls_made[me] < 2 ->
         check_runs(); guest[me] = CALLING };
       d_step {
         calls_made[me]++;
         verdict(v);
         if
         :: v == SUCCESS && caller != NOBODY -> v = ON_PENDING
         :: else -> skip
         fi;
         if
         :: v == SUCCESS -> call[me] = CALL_POSTED; caller = me
         :: else -> skip
         fi;
         check_all()
       };
       if
       :: v != SUCCESS -> d_step { guest[me] = v }
       :: v == SUCCESS ->
         do
         :: atomic { call[me] == CALL_POSTED && !immediate_exit[me] && !immediate_exit[T] ->
              kick(T) }
         :: call[me] != CALL_POSTED || immediate_exit[me] -> break
         od;
         skip;
         d_step {
           /* under the lock again: withdrawn only where the target has not come */
           if
           :: call[me] == CALL_POSTED ->
             caller = NOBODY; guest[me] = BEFORE; calls_made[me]--; kick(me)
           :: call[me] == CALL_CANCELLED ->
             guest[me] = BEFORE; calls_made[me]--; kick(me)
           :: call[me] == CALL_ENDED && guest[me] == CALLING ->
             guest[me] = status[me];
             if
             :: status[me] == SUCCESS ->
               assert(started[me] == 1);
               started[me]--
             :: else -> skip
             fi
           :: else -> skip
           fi;
           call[me] = CALL_NONE; status[me] = 0;
           check_all()
         }
       fi;
       v = 0
    :: d_step { !immediate_exit[me] && guest[me] >= SUCCESS -> guest[me] = BEFORE }
    od;
    atomic { out[me] = true }
  od
}

/* QEMU's main thread: pauses all, resets at times, lets all go on. */
proctype Qemu() {
  bool was_on;
end:
  do
  :: atomic { stops > 0 -> stops--; stopping = true; kick(0); kick(1); kick(2) };
    out[0] && out[1] && out[2];
    assert(call[0] == CALL_NONE && call[1] == CALL_NONE && caller == NOBODY);
    assert((call[0] == CALL_POSTED) == (caller == 0));        /* and no call that waits is lost */
  assert((call[1] == CALL_POSTED) == (caller == 1));
  assert(started[0] == 0 && started[1] == 0);       /* no call is half made: a migration has nothing to carry */
    if
    :: d_step { resets > 0 -> resets--; counted++;
         runnable = false; powered = false; fresh = false;
         guest[0] = BEFORE; guest[1] = BEFORE; calls_made[0] = 0; calls_made[1] = 0;
         check_all() }
    /* The switch. hpcore carries no machine that was reset, and whose reset it has yet to follow. */
    :: atomic { carrying && !held -> there = granted };
       d_step {
         assert(!force_wanted);                     /* the other page knows of no force */
         assert(set_up == counted);                 /* nor of a reset */
         was_on = runnable;
         counted = 0; allowed = 0; set_up = 0;      /* its own words, all new */
         runnable = runnable && there; powered = runnable; fresh = false;   /* KVM_SET_MP_STATE */
         assert(runnable == (was_on && granted));   /* what was on is on, and nothing without a grant */
         granted = there; was_on = false; there = false;
         came = true; carrying = false;
         check_all()
       }
    :: atomic { carrying -> carrying = false }      /* it came to nothing: the machine goes on here */
    :: skip
    fi;
    atomic { stopping = false }
  :: d_step { out[T] && resets > 0 -> resets--;    /* the target alone, while a call may wait */
       runnable = false; powered = false; fresh = false;
       if
       :: caller != NOBODY -> call[caller] = CALL_CANCELLED; caller = NOBODY
       :: else -> skip
       fi;
       check_all() }
  :: d_step { out[T] && resets > 0 && granted -> resets--;     /* QEMU puts it as RUNNABLE */
       runnable = true; powered = true; check_all() }
  od
}

proctype Hpcore() {
end:
  do
  :: d_step { !carrying && granted && forces > 0 -> granted = false }
  :: d_step { !carrying && !granted && !force_wanted -> granted = true }
  :: d_step { !carrying && !granted && !force_wanted && forces > 0 ->
       forces--; force_wanted = true; kick(T) }
  :: d_step { moves > 0 && !carrying && !force_wanted -> moves--; carrying = true }
  /* The start, or the next reset that it was told: first its own state, then the machine. It may
   * ask QEMU for something before, and QEMU answers nothing while it waits for its threads. */
  :: !stopping && (allowed == 0 || set_up < counted) ->
    d_step { if :: allowed != 0 -> set_up++ :: else -> skip fi };
    d_step { allowed = set_up + 1; came = false }
  od
}

init {
  atomic {
    out[0] = true; out[1] = true; out[2] = true;
    run Target(); run Caller(0); run Caller(1); run Qemu(); run Hpcore()
  }
}
