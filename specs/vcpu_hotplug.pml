/* arm64 vCPU hotplug for SPIN, written by hand; the same protocol as VcpuHotplug.tla.
 *
 * One option of the loop is one stimulus and all that is decided because of it, so that a
 * state of SPIN's is a state of `hpcore check`. -DN=2 gives the possible vCPUs (1 to 4),
 * of which number 0 is cold-booted; -DFAULTS=1 how many effects may fail; -DPLUGGED=0 how
 * many vCPUs were plugged before the boot; -DSAVES=1 that the machine may be saved and restored.
 * -DV6=1 is the series' v6 in place of hpcore's own protocol: a vCPU is realized once, and an
 * unplug leaves it whole. What was reported against v6 is switched on by name, see below.
 *
 *     spin -a -DN=2 vcpu_hotplug.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan -m1000000
 */
#ifndef N
#define N 2
#endif
#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef PLUGGED
#define PLUGGED 0
#endif
#ifndef SAVES
#define SAVES 0
#endif
#ifndef V6
#define V6 0
#endif

/* What was reported against v6. */
#ifndef SVE_FINALIZED_TWICE
#define SVE_FINALIZED_TWICE 0  /* a vCPU's SVE lengths are final as it is created */
#endif
#ifndef LOST_AT_RESET
#define LOST_AT_RESET 0        /* a vCPU that was enabled at run time is gone after a reset */
#endif

/* What v6 gives up. By -DPARKED_IS_INERT=1 it is asked of v6 all the same, and seen broken. */
#ifndef PARKED_IS_INERT
#define PARKED_IS_INERT (!V6)
#endif
#ifndef EJECT_CONFIRMED_FIRST
#define EJECT_CONFIRMED_FIRST (!V6)
#endif
#ifndef OBJECTS_WHILE_PLUGGED
#define OBJECTS_WHILE_PLUGGED (!V6)
#endif

/* where a slot is, its GICC, the command it owes an end, the effect under way */
#define PARKED 0
#define REALIZED 1
#define ENABLED 2
#define ONLINE 3
#define EJECTING 4

#define UNBOUND 0
#define BOUND 1
#define WIRED 2
#define CLOSED 3   /* v6: wired, and not to be reached */

#define NONE 0
#define PLUG 1
#define UNPLUG 2
#define REVOKE 3

#define REALIZE 1
#define BIND 2
#define WIRE 3
#define ENABLE 4
#define NOTIFY_INSERT 5
#define NOTIFY_REMOVE 6
#define DISABLE 7
#define POWER_OFF 8
#define UNWIRE 9
#define UNBIND 10
#define STOP 11
#define RELEASE 12
#define PARK 13
#define WAKE 14    /* this and what follows are v6's */
#define OPEN 15
#define SHUT 16
#define HALT 17

#define READY 0
#define RUNNING 1
#define RESETTING 2
#define OFF 3

#define START 1
#define RESET 2
#define RESTART 3
#define MIGRATE 4
#define RESUME 5
#define SAVE 6

typedef Slot {
  byte life; byte gicc; byte cmd; byte step;
  bit named;      /* it has a device id */
  bit thread; bit space;
  bit sta;        /* what _STA says */
  bit powered;    /* the accelerator's own word */
  bit insert; bit remove;   /* event bits */
  bit requested;  /* the guest may eject */
  bit unconfirmed; /* it has, and not said how that went */
  bit stalled     /* an effect of the teardown failed */
}

Slot s[N];
byte phase = READY;
byte mstep = START;
bit paused;        /* it stands still, since it went off, or was restored */
bit migrating, ged, scanning;   /* also while it is saved */
byte faults = FAULTS;
hidden byte k;     /* a loop's index: no part of the state */
hidden byte failed; /* within one action */
hidden byte was;    /* the same */

#define guest_runs (phase == RUNNING || mstep == START || mstep == RESTART)
#define takes ((phase == RUNNING || phase == RESETTING) && !migrating)
#define cold(i) (i == 0)
#define busy(i) (s[i].cmd != NONE || s[i].step != NONE || s[i].life == REALIZED \
                 || s[i].life == EJECTING)
#define held(i) (s[i].cmd == UNPLUG && s[i].life == EJECTING)
#define plug_finished(i) (s[i].cmd != PLUG \
                          && (s[i].life != EJECTING || s[i].stalled || s[i].cmd != NONE))

/* For all slots, without a loop that a guard could not have. */
#if N == 1
#define any(p) (p(0))
#elif N == 2
#define any(p) (p(0) || p(1))
#elif N == 3
#define any(p) (p(0) || p(1) || p(2))
#else
#define any(p) (p(0) || p(1) || p(2) || p(3))
#endif
#define has_bit(i) (s[i].insert || s[i].remove)

/* What goes on by itself once a slot has nothing under way. An eject, and the way back of a
 * failed plug, leaves out what has nothing to do. */
inline next_teardown(i) {
  if
  :: s[i].sta -> s[i].step = DISABLE
  :: else -> if
  :: s[i].powered -> s[i].step = POWER_OFF
  :: else -> if
  :: V6 -> s[i].step = (s[i].gicc == WIRED -> SHUT : HALT)
  :: else -> if
  :: s[i].gicc == WIRED -> s[i].step = UNWIRE
  :: else -> if
  :: s[i].gicc == BOUND -> s[i].step = UNBIND
  :: else -> if
  :: s[i].thread -> s[i].step = STOP
  :: else -> if
  :: s[i].space -> s[i].step = RELEASE
  :: else -> s[i].step = PARK
  fi fi fi fi fi fi fi
}

/* An eject request waits until the guest has taken the device check, and for the end of a
 * reset; a plug until the guest is through with its eject, which v6 does not wait for, and while
 * vCPU 0 is started. */
#define asks(i) (s[i].life != EJECTING && s[i].cmd == UNPLUG && !s[i].requested \
                 && !s[i].insert && phase != RESETTING && phase != OFF)
inline advance(i) {
  if
  :: s[i].step != NONE -> skip
  :: s[i].step == NONE && s[i].cmd == PLUG ->
    if
    :: (s[i].unconfirmed && !V6) || s[i].sta || mstep == START -> skip
    :: else -> s[i].step = (V6 && s[i].space -> WAKE : REALIZE)
    fi
  :: else ->
    if
    :: s[i].cmd == REVOKE && s[i].life != EJECTING -> s[i].life = EJECTING; s[i].requested = 0
    :: else -> skip
    fi;
    if
    :: s[i].life == EJECTING ->
      if
      :: s[i].stalled || migrating -> skip /* what the guest ejects waits for the migration */
      :: else -> next_teardown(i)
      fi
    :: asks(i) ->
      s[i].step = NOTIFY_REMOVE; s[i].remove = 1; s[i].requested = 1; ged = 1
    :: else -> skip
    fi
  fi
}

/* The outcome of the effect under way, and what a plug begins next. */
inline done(i) {
  if
  :: s[i].step == REALIZE ->
    s[i].life = REALIZED; s[i].thread = 1; s[i].space = 1; s[i].step = BIND
  :: s[i].step == BIND -> s[i].gicc = BOUND; s[i].step = WIRE
  :: s[i].step == WIRE -> s[i].gicc = WIRED; s[i].step = ENABLE
  :: s[i].step == WAKE -> /* an earlier plug may have come to any of these */
    s[i].life = REALIZED;
    s[i].step = (s[i].gicc == UNBOUND -> BIND : (s[i].gicc == BOUND -> WIRE : OPEN))
  :: s[i].step == OPEN -> s[i].gicc = WIRED; s[i].step = ENABLE
  :: s[i].step == ENABLE ->
    s[i].life = ENABLED; s[i].sta = 1; s[i].step = NOTIFY_INSERT; s[i].insert = 1; ged = 1
  :: else ->
    if
    :: s[i].step == NOTIFY_INSERT -> s[i].cmd = NONE
    :: s[i].step == NOTIFY_REMOVE -> skip
    :: s[i].step == DISABLE ->
      s[i].sta = 0; s[i].insert = 0; s[i].remove = 0; s[i].requested = 0
    :: s[i].step == POWER_OFF -> s[i].powered = 0
    :: s[i].step == UNWIRE -> s[i].gicc = BOUND
    :: s[i].step == UNBIND -> s[i].gicc = UNBOUND
    :: s[i].step == STOP -> s[i].thread = 0
    :: s[i].step == RELEASE -> s[i].space = 0
    :: s[i].step == SHUT -> s[i].gicc = CLOSED
    :: s[i].step == PARK || s[i].step == HALT ->
      s[i].life = PARKED; s[i].named = 0; s[i].cmd = NONE
    fi;
    s[i].step = NONE;
    advance(i)
  fi
}

/* A plug that fails is taken back; a teardown that fails waits to be asked again. */
inline fails(i) {
  failed = 1;
  if
  :: s[i].step == NOTIFY_INSERT -> s[i].insert = 0
  :: s[i].step == NOTIFY_REMOVE ->
    s[i].remove = 0; s[i].requested = 0;
    failed = !(s[i].life == EJECTING || s[i].cmd == REVOKE)
  :: else -> s[i].stalled = (s[i].life == EJECTING)
  fi;
  s[i].step = NONE;
  if
  :: s[i].cmd == PLUG ->
    s[i].cmd = NONE;
    if
    :: s[i].life == PARKED -> s[i].named = 0
    :: else -> s[i].life = EJECTING
    fi
  :: (s[i].cmd == UNPLUG || s[i].cmd == REVOKE) && failed -> s[i].cmd = NONE; s[i].requested = 0
  :: else -> skip
  fi;
  failed = 0;
  faults--;
  advance(i)
}

/* What is plugged stays, what is pending goes. */
inline reset_slot(i) {
  if
  :: (s[i].cmd == UNPLUG || s[i].cmd == REVOKE) && s[i].requested -> s[i].cmd = NONE
  :: else -> skip
  fi;
  if
  :: s[i].life == ONLINE -> s[i].life = ENABLED
  :: else -> skip
  fi;
  was = s[i].sta;
  s[i].sta = was && !(LOST_AT_RESET && !cold(i));
  assert(s[i].sta == was);                                           /* reset_keeps_plugged */
  s[i].powered = 0;
  s[i].insert = 0; s[i].remove = 0; s[i].requested = 0; s[i].unconfirmed = 0
}

/* What was plugged before the boot is there once vCPU 0 has entered the kernel. */
inline end_start(i) {
  if
  :: mstep == START && s[i].cmd == PLUG && s[i].sta -> s[i].cmd = NONE
  :: else -> skip
  fi
}

/* What depends on the guest ends; what the accelerator has under way goes on. */
inline power_off_slot(i) {
  if
  :: s[i].cmd == UNPLUG && s[i].life != EJECTING -> s[i].cmd = NONE
  :: else -> skip
  fi;
  reset_slot(i)
}

/* vCPU 0 starts once nothing else is under way for the machine, and it is not paused. */
inline then_restart() {
  if
  :: phase == RESETTING && !paused -> mstep = RESTART; s[0].life = ONLINE; s[0].powered = 1
  :: else -> mstep = NONE
  fi
}

/* v6 carries what is enabled. Elsewhere any other vCPU is as if it never had been. */
inline leave_behind() {
  k = 0;
  do
  :: k < N && V6 && s[k].life == PARKED ->
    s[k].thread = 0; s[k].space = 0; s[k].gicc = UNBOUND; k++
  :: k < N && !(V6 && s[k].life == PARKED) -> k++
  :: else -> break
  od
}

/* The state has been carried, or not: what the guest ejected meanwhile goes on. */
inline carried() {
  migrating = 0;
  k = 0;
  do
  :: k < N -> advance(k); k++
  :: else -> break
  od;
  k = 0;
  then_restart()
}

/* The invariants, by the names that hpcore gives them; asked after every action. */
inline check(i) {
  assert(!PARKED_IS_INERT || s[i].life != PARKED || !(s[i].thread || s[i].space || s[i].powered
         || s[i].sta || s[i].gicc != UNBOUND));                      /* parked_is_inert */
  assert(!OBJECTS_WHILE_PLUGGED || s[i].life != PARKED || !s[i].space); /* objects_while_plugged */
  assert(!V6 || s[i].life != PARKED || !(s[i].powered || s[i].sta || s[i].gicc == WIRED));
                                                                     /* disabled_is_shut */
  assert(!s[i].sta || (s[i].thread && s[i].space && s[i].gicc == WIRED));
                                                                     /* enabled_is_wired */
  assert(s[i].sta == (s[i].life == ENABLED || s[i].life == ONLINE) || s[i].life == EJECTING);
                                                                     /* tables_say_what_is */
  assert((s[i].space || !s[i].thread) && (s[i].thread || s[i].gicc == UNBOUND));
                                                                     /* nothing_without_base */
  assert(s[i].sta || !(s[i].insert || s[i].remove || s[i].requested));
                                                                     /* notified_only_enabled */
  assert(s[i].life != ONLINE || (s[i].sta && s[i].powered));     /* online_is_enabled */
  assert(s[i].life != ENABLED || (s[i].sta && !s[i].powered));
  assert(!s[i].powered || s[i].life == ONLINE || s[i].life == EJECTING);
  assert(!EJECT_CONFIRMED_FIRST || !(s[i].unconfirmed && s[i].sta) || s[i].life == EJECTING);
                                                                     /* eject_confirmed_first */
  assert(!cold(i) || !(s[i].life == EJECTING || s[i].requested || s[i].remove));
                                                                     /* cold_booted_stays */
  assert(!(phase == RESETTING && mstep != RESTART && s[i].powered)); /* reset_keeps_plugged */
  assert(phase != OFF || !(s[i].powered || s[i].requested));         /* off_keeps_plugged */
  assert(mstep != RESTART || !paused);                               /* starts_in_order */
  assert(!migrating || (s[i].step == NONE && (held(i) || !busy(i)))); /* migration_carries_all */
  assert(s[i].life != EJECTING || s[i].step != NONE || s[i].stalled
         || (migrating && held(i)));                                 /* no_command_lost */
  assert(s[i].cmd != UNPLUG || s[i].step != NONE || s[i].insert || s[i].requested
         || phase == RESETTING || (migrating && held(i)));
  assert(s[i].cmd != PLUG || s[i].step != NONE || s[i].unconfirmed || phase == RESETTING
         || phase == OFF || mstep == START);
  assert(s[i].cmd != REVOKE || s[i].step != NONE);
  assert(!has_bit(i) || ged || scanning);                            /* no_notification_lost */
  assert(!s[i].remove || s[i].requested || s[i].life == EJECTING); /* request_withdrawn_whole */
  assert(!(s[i].insert && s[i].remove));                             /* removal_not_shadowed */
  assert(s[i].step < UNWIRE || !(s[i].sta || s[i].powered));     /* eject_in_order */
  assert(s[i].step != UNBIND || s[i].gicc == BOUND);
  assert(s[i].step != STOP || s[i].gicc == UNBOUND);
  assert(s[i].step != RELEASE || !s[i].thread);
  assert(s[i].step != PARK || !s[i].space);
  assert(s[i].step != REALIZE || (s[i].life == PARKED && s[i].gicc == UNBOUND
         && !(s[i].thread || s[i].space || s[i].stalled)));          /* realized_as_new */
  assert(s[i].step != BIND || (s[i].thread && s[i].gicc == UNBOUND)); /* built_in_order */
  assert(s[i].step != WIRE || s[i].gicc == BOUND);
  assert(s[i].step != ENABLE || s[i].gicc == WIRED);
  assert(s[i].step != SHUT || s[i].gicc == WIRED);                   /* disabled_in_order */
  assert(s[i].step != HALT || s[i].gicc != WIRED);
  assert(!V6 || s[i].step < UNWIRE || s[i].step >= WAKE);
  assert(s[i].step != WAKE || (s[i].space && s[i].life == PARKED));  /* woken_in_order */
  assert(s[i].step != OPEN || (s[i].gicc == CLOSED && s[i].life == REALIZED));
  assert(V6 || s[i].step < WAKE);
  assert(s[i].step != REALIZE || !(SVE_FINALIZED_TWICE && !cold(i))) /* sve_finalized_once */
}

inline check_all() {
  k = 0;
  do
  :: k < N -> check(k); k++
  :: else -> break
  od;
  k = 0
}

#define OF_SLOT(i) \
  /* the user */ \
  :: d_step { phase != OFF && !migrating && s[i].life == PARKED && s[i].cmd == NONE \
       && s[i].step == NONE -> \
       s[i].cmd = PLUG; s[i].named = 1; advance(i); check_all() } \
  :: d_step { takes && s[i].named && !cold(i) && plug_finished(i) && s[i].cmd != REVOKE \
       && (s[i].life != EJECTING || s[i].stalled) -> \
       s[i].cmd = UNPLUG; s[i].stalled = 0; \
       s[i].requested = s[i].requested && s[i].step == NOTIFY_REMOVE; \
       advance(i); check_all() } \
  :: d_step { !V6 && takes && s[i].named && !cold(i) && plug_finished(i) && s[i].cmd != REVOKE \
       && (s[i].life != EJECTING || s[i].stalled) -> \
       s[i].cmd = REVOKE; s[i].stalled = 0; advance(i); check_all() } \
  /* the guest */ \
  :: d_step { phase != OFF && s[i].insert -> s[i].insert = 0; advance(i); check_all() } \
  :: d_step { phase != OFF && s[i].remove -> s[i].remove = 0; check_all() } \
  :: d_step { guest_runs && s[i].sta && !s[i].powered && s[i].life == ENABLED -> \
       s[i].powered = 1; s[i].life = ONLINE; check_all() } \
  :: d_step { guest_runs && s[i].sta && !s[i].powered && s[i].life == EJECTING -> \
       s[i].powered = 1; check_all() } \
  :: d_step { s[i].powered -> s[i].powered = 0; \
       if :: s[i].life == ONLINE -> s[i].life = ENABLED :: else -> skip fi; check_all() } \
  :: d_step { guest_runs && !cold(i) && s[i].life == ENABLED && s[i].requested \
       && !s[i].powered -> \
       s[i].life = EJECTING; s[i].requested = 0; s[i].unconfirmed = 1; \
       if :: s[i].cmd == NONE -> s[i].cmd = UNPLUG :: else -> skip fi; \
       advance(i); check_all() } \
  :: d_step { !V6 && guest_runs && s[i].requested && s[i].cmd == UNPLUG -> \
       s[i].cmd = NONE; s[i].requested = s[i].remove; check_all() } \
  :: d_step { guest_runs && s[i].unconfirmed -> \
       s[i].unconfirmed = 0; advance(i); check_all() } \
  /* the deadline, which v6 has not */ \
  :: d_step { !V6 && s[i].unconfirmed -> s[i].unconfirmed = 0; advance(i); check_all() } \
  :: d_step { !V6 && !s[i].unconfirmed && s[i].cmd == UNPLUG && s[i].life != EJECTING && s[i].step == NONE -> \
       s[i].cmd = NONE; check_all() } \
  /* the accelerator */ \
  :: d_step { s[i].step != NONE -> done(i); check_all() } \
  :: d_step { s[i].step != NONE && faults > 0 -> fails(i); check_all() }

init {
  d_step {
    s[0].life = ONLINE; s[0].gicc = WIRED; s[0].named = 1; s[0].thread = 1; s[0].space = 1;
    s[0].sta = 1; s[0].powered = 1;
    k = 1;
    do /* built with the cold-booted ones, without a device check; the plug ends with the start */
    :: k <= PLUGGED ->
      s[k].life = ENABLED; s[k].gicc = WIRED; s[k].named = 1; s[k].thread = 1; s[k].space = 1;
      s[k].sta = 1; s[k].cmd = PLUG;
      k++
    :: else -> break
    od;
    k = 0
  }
end:
  do
  OF_SLOT(0)
#if N > 1
  OF_SLOT(1)
#endif
#if N > 2
  OF_SLOT(2)
#endif
#if N > 3
  OF_SLOT(3)
#endif
  /* the user */
  :: d_step { (phase == RUNNING || phase == OFF || (phase == RESETTING && paused)) && mstep == NONE ->
       mstep = RESET; check_all() }
  :: d_step { (phase == RUNNING || phase == RESETTING) && paused && mstep == NONE ->
       mstep = RESUME; check_all() }
  :: d_step { phase == RUNNING && mstep == NONE && !any(busy) ->
       mstep = MIGRATE; migrating = 1; check_all() }
  :: d_step { SAVES && phase == RUNNING && mstep == NONE && !any(busy) ->
       mstep = SAVE; migrating = 1; check_all() }
  /* the guest */
  :: d_step { guest_runs -> ged = 0; scanning = 1; check_all() }
  :: d_step { scanning -> scanning = 0;
       if :: any(has_bit) -> ged = 1 :: else -> skip fi; check_all() }
  :: d_step { guest_runs ->
       k = 0;
       do
       :: k < N -> end_start(k); power_off_slot(k); k++
       :: else -> break
       od;
       k = 0;
       phase = OFF; paused = 1; ged = 0; scanning = 0;
       if
       :: mstep == START || mstep == RESTART -> mstep = NONE
       :: else -> skip
       fi;
       check_all() }
  :: d_step { guest_runs || phase == RESETTING || (phase == OFF && mstep == RESET) ->
       k = 0;
       do
       :: k < N -> end_start(k); reset_slot(k); k++
       :: else -> break
       od;
       k = 0;
       phase = RESETTING; ged = 0; scanning = 0;
       if
       :: mstep == MIGRATE || mstep == SAVE || mstep == RESUME -> skip /* vCPU 0 starts once that has ended */
       :: else -> then_restart()
       fi;
       check_all() }
  /* the accelerator */
  :: d_step { mstep == START || mstep == RESTART ->
       phase = RUNNING;
       k = 0;
       do
       :: k < N -> end_start(k); k++
       :: else -> break
       od;
       mstep = NONE;
       k = 0;
       do /* what has waited for the end of a reset, or of the start, goes on */
       :: k < N -> advance(k); k++
       :: else -> break
       od;
       k = 0;
       check_all() }
  :: d_step { mstep == MIGRATE -> leave_behind(); carried(); check_all() }
  :: d_step { mstep == SAVE -> carried(); check_all() }
  :: d_step { mstep == SAVE -> /* another, restored from it */
       paused = 1; leave_behind(); carried(); check_all() }
  :: d_step { mstep == RESUME -> paused = (phase == OFF); then_restart(); check_all() }
  :: d_step { (mstep == RESUME || (mstep == RESET && phase == OFF)) && faults > 0 ->
       faults--; mstep = NONE; check_all() }
  :: d_step { (mstep == MIGRATE || mstep == SAVE) && faults > 0 ->
       faults--; carried(); check_all() }
  od
}
