/* A machine that outlives hpcore is carried from one QEMU to another, and hpcore dies at any moment,
 * also as it comes back, for SPIN: at most one of the two runs it, no death of hpcore loses it, and
 * the log says in the end where it is.
 *
 * What hpcore/qemu/kept_directory.py, kept_moves.py, migration.py, live_migration.py and
 * backends/tcg/hpcore_tcg/kept.py do, and QEMU's migration.c as far as it matters, written
 * independently of hpcore/model.
 *
 *     spin -a kept_moving.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan -m1000000
 *
 * -DDEATHS=2 says how many of hpcore. -DLIVE=0: the guest stands still from the start, and hpcore
 * alone lets it go on. -DTRIES=2: so many moves are begun. -DQEMUS_DIE=1: so often the other QEMU dies
 * though it has the machine, which may then be lost; moving.pml has more of that. One that refuses
 * the machine ends in any case.
 */
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef LIVE
#define LIVE 1
#endif
#ifndef TRIES
#define TRIES 2
#endif
#ifndef QEMUS_DIE
#define QEMUS_DIE 0
#endif

#define NONE 0       /* there is no such QEMU, or it has ended */
#define RUNS 1
#define STILL 2      /* told `stop`, or never told `cont` */
#define SWITCH 3     /* here: for the switch, by itself */
#define SENT 4       /* here: the last of the machine is on its way */
#define COMPLETED 5  /* here: and it was told that the other one has it */
#define WAITS 6      /* there: for the whole machine */

/* The two QEMUs; no death of hpcore changes them. */
byte here = RUNS, there = NONE;
bool migrating;      /* here: the migration has not come to an end */
bool switches;       /* here: it may have the guest stand still, and send the last of it */
bool goes_on;        /* there: told `cont` in time, and not taken back */
bool whole;          /* there: it has all of the machine */
bool has_run;        /* there: the guest has run there, in this move */
bool word;           /* the return path: there it is, whole */
byte qemus_die = QEMUS_DIE;
byte number = 0;     /* of the one here; that of the one there is the next */

/* The machine's directory, and the log. */
bool mark_here = true, mark_there;
bool begun;          /* a move is under way */
byte moves;          /* whose end was told, by `heard` */
byte moved;          /* how often the log says so */

/* hpcore */
bool alive = true, finished, lost;
byte deaths = DEATHS, tries = TRIES;

#define one_runs assert(!(here == RUNS && there == RUNS))

/* Here it goes on after a move that came to nothing: the guest has run nowhere else meanwhile. Where
 * a QEMU died in which it had run, and whose word for that had not come, nobody knows. */
#define goes_on_here \
  assert(here != NONE && (!has_run || (QEMUS_DIE > 0 && here != COMPLETED))); \
  here = RUNS; one_runs

/* ------------------------------------------------------------------------------------- QEMU */

proctype Here() {
end:
  do
  :: d_step { migrating && here == RUNS && switches -> here = SWITCH }
  :: d_step { migrating && switches && (here == SWITCH || here == STILL) && there == WAITS ->
       here = SENT }
  :: d_step { migrating && here == SENT && word -> here = COMPLETED; migrating = false }
  /* the connection breaks with the other one's end alone; what had run goes on by itself */
  :: d_step { migrating && there == NONE && !(here == SENT && word) ->
       migrating = false;
       if
       :: LIVE && (here == SWITCH || here == SENT) -> here = RUNS; one_runs
       :: !LIVE && here == SENT -> here = STILL
       :: else -> skip
       fi }
  od
}

proctype There() {
end:
  do
  :: d_step { there == WAITS && here == SENT && migrating ->
       whole = true;
       if
       :: goes_on -> has_run = true; there = RUNS; one_runs
       :: else -> there = STILL
       fi }
  :: d_step { whole && there != NONE && !word -> word = true }
  :: d_step { there == WAITS -> there = NONE }           /* it takes no such machine */
  :: d_step { qemus_die > 0 && whole && there != NONE -> qemus_die--; there = NONE }
  od
}

/* ----------------------------------------------------------------------------------- hpcore */

inline forget_there() {
  there = NONE; whole = false; word = false; goes_on = false
}

/* There it is never let go on from now on; then it is ended. */
inline give_up_there() {
  mark_there = false;
  d_step { there = NONE; whole = false; goes_on = false }
}

/* migrate_cancel, and the migration's end */
inline give_up_migration() {
  d_step {
    if
    :: here == SENT && word -> here = COMPLETED          /* it came too late */
    :: here == SWITCH || (here == SENT && !word) -> here = STILL
    :: else -> skip
    fi;
    migrating = false; switches = false }
}

/* The machine is there; the one that it was in is given up, and ended. */
inline leave_here() {
  mark_here = false;
  d_step { here = NONE; migrating = false; switches = false }
}

/* The end of the move is in the log. What is there is here, for the next one. */
inline end_move() {
  d_step {
    begun = false;
    if
    :: !mark_here ->
       number++; assert(number > moves);
       moves = number; moved++;
       lost = (there == NONE);
       here = there; mark_here = true; mark_there = false; has_run = false; forget_there()
    :: else -> assert(number == moves); forget_there()
    fi }
}

inline stop_there() {
  d_step {
    if
    :: there != NONE -> goes_on = false
    :: else -> skip
    fi;
    if
    :: there == RUNS -> there = STILL
    :: else -> skip
    fi }
}

/* `cont`; nothing comes of it where that one has ended */
inline let_go_on_there() {
  d_step {
    if
    :: there != NONE -> assert(whole); has_run = true; there = RUNS; one_runs
    :: else -> skip
    fi }
}

/* Who comes back: kept_moves.py, and then the attachment. */
inline come_back() {
  if
  :: d_step { !mark_there && (there != NONE || whole) -> forget_there() }
  :: mark_there || (there == NONE && !whole)
  fi;
  if
  :: d_step { !mark_here && here != NONE -> here = NONE; migrating = false; switches = false }
  :: mark_here || here == NONE
  fi;
  if
  :: mark_here && mark_there && there == NONE ->         /* it has ended by itself */
     give_up_migration();
     if
     :: here == COMPLETED -> lost = true
     :: else -> give_up_there()
     fi
  :: mark_here && mark_there && there != NONE ->
     stop_there();
     if
     :: there == WAITS -> give_up_there()
     :: there != WAITS ->
        (!migrating);
        if
        :: (here == COMPLETED || here == NONE) && there != NONE -> leave_here()
        :: else ->                                       /* refused: somebody attaches again */
           assert(there == NONE);
           give_up_migration();
           if
           :: here == COMPLETED -> lost = true
           :: else -> give_up_there()
           fi
        fi
     fi
  :: !mark_here || !mark_there
  fi;
  if
  :: lost
  :: else ->
     assert(mark_here || mark_there);
     /* one is left, is heard to the end, and goes on */
     if
     :: mark_here ->
        give_up_migration();                             /* or it goes on with it */
        d_step { goes_on_here }
     :: !mark_here && mark_there -> let_go_on_there();
        if
        :: there == NONE -> lost = true
        :: else
        fi
     fi;
     if
     :: begun && !lost -> end_move()
     :: else
     fi
  fi
}

/* One move, by who lives through it: migration.py, live_migration.py. */
inline move() {
  d_step { begun = true; tries-- };
  d_step { forget_there(); has_run = false; there = WAITS };
  mark_there = true;
  if
  :: LIVE -> goes_on = (there == WAITS)                  /* `cont` */
  :: !LIVE -> here = STILL                               /* `stop` */
  fi;
  migrating = true;                                      /* `migrate` */
  switches = true;                                       /* `migrate-continue`; live: at once */
  if
  :: here == COMPLETED && whole && there != NONE
  :: !migrating && here != COMPLETED                     /* it has failed */
  :: true                                                /* it is given up */
  fi;
  if
  :: LIVE && there != NONE -> stop_there()
  :: else
  fi;
  if
  :: LIVE && has_run -> (!migrating)
  :: !LIVE && here == COMPLETED && whole
  :: else
  fi;
  if
  :: (LIVE -> has_run : whole) && here == COMPLETED && there != NONE ->
     let_go_on_there();
     if
     :: there == NONE -> lost = true
     :: else -> leave_here()
     fi
  :: has_run && there == NONE -> lost = true             /* somebody may have heard of it */
  :: else ->
     give_up_there();
     give_up_migration();
     d_step { goes_on_here }
  fi;
  if
  :: lost
  :: else -> end_move()
  fi
}

inline live() {
  come_back();
  do
  :: tries > 0 && !lost -> move()
  :: lost -> break
  :: tries == 0 -> break
  od;
  finished = true
}

proctype Hpcore() {
life:
  { live() } unless { atomic { !alive -> alive = true; goto life } }
}

/* kill -9 */
proctype Kill() {
end:
  do
  :: d_step { deaths > 0 && alive && !finished -> deaths--; alive = false }
  od
}

/* Once nothing more happens, the machine runs where it is said to be. */
proctype End() {
end:
  timeout -> assert(finished);
  assert(!lost || QEMUS_DIE > 0);
  assert(lost || (here == RUNS && there == NONE && mark_here && !mark_there));
  assert(lost || (!begun && moves == number && moved == number))
}

init {
  atomic { run Here(); run There(); run Hpcore(); run Kill(); run End() }
}
