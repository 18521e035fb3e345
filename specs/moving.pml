/* A machine is carried from one QEMU to another while it runs, for SPIN: at most one of the two runs
 * it, whoever dies and whenever somebody gives it up, and giving it up loses no machine.
 *
 * What hpcore/qemu/live_migration.py does, and QEMU's migration.c, qmp_cont and qmp_stop as far as
 * they matter, written independently of hpcore/model.
 *
 *     spin -a moving.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * -DDEATHS=2 says how many. A destination that refuses the machine ends, too, without being one.
 */
#ifndef DEATHS
#define DEATHS 2
#endif

#define RUNS 1
#define STILL 2      /* here: for the switch. There: it has the machine, which stands still */
#define COMPLETED 3  /* here: it stands still, and the migration has ended well */
#define WAITS 4      /* there: for the whole machine */
#define DEAD 5

#define NOBODY 0
#define HERE 1
#define THERE 2
#define LOST 3

byte here = RUNS, there = WAITS, deaths = DEATHS;
bool migrating = true;   /* here: the migration has not come to an end */
bool sent;               /* all of the machine is on its way; what is sent, arrives */
bool word;               /* the return path: it is there, whole */
bool goes_on = true;     /* there: told `cont`, and not taken back */
bool has_run;            /* there: it has said RESUME */
bool spoke;              /* there: somebody has heard of its guest */
byte is = NOBODY;        /* hpcore's: who has the machine */

#define one_runs assert(!(here == RUNS && there == RUNS))

proctype Here() {
end:
  do
  :: d_step { migrating && here == RUNS -> here = STILL }
  :: d_step { migrating && here == STILL && !sent -> sent = true }
  :: d_step { migrating && here == STILL && sent && word -> here = COMPLETED; migrating = false }
  /* the connection breaks with the other one's end alone */
  :: d_step { migrating && here != DEAD && there == DEAD -> migrating = false; here = RUNS; one_runs }
  :: d_step { deaths > 0 && here != DEAD -> deaths--; here = DEAD; migrating = false }
  od
}

proctype There() {
end:
  do
  :: d_step { there == WAITS && sent ->
       if
       :: goes_on -> has_run = true; there = RUNS; one_runs
       :: else -> there = STILL
       fi }
  :: d_step { there != WAITS && there != DEAD && !word -> word = true }
  :: d_step { there == RUNS && !spoke -> spoke = true }
  :: d_step { there == WAITS && !sent && here == DEAD -> there = DEAD }
  :: d_step { there == WAITS -> there = DEAD }          /* it takes no such machine */
  :: d_step { deaths > 0 && there != DEAD -> deaths--; there = DEAD }
  od
}

proctype Hpcore() {
  if
  /* both have said completed, and the other one answers still */
  :: d_step { here == COMPLETED && word && there != DEAD && has_run -> is = THERE }; goto moved
  :: here == DEAD || there == DEAD || !migrating        /* it has failed */
  :: true                                               /* it is given up */
  fi;
  if
  :: d_step { there != DEAD -> goes_on = false;         /* `stop`, and its answer */
       if
       :: there == RUNS -> there = STILL
       :: else -> skip
       fi };
     if
     :: has_run ->
       (!migrating);                                    /* how has it ended here? */
       if
       :: d_step { here != RUNS && there != DEAD -> there = RUNS; is = THERE; one_runs };
          goto moved
       :: d_step { here == RUNS -> assert(there == DEAD) }
       :: there == DEAD
       fi
     :: else
     fi
  :: there == DEAD
  fi;
  there = DEAD;
  if
  :: spoke || here == DEAD -> is = LOST
  :: else ->
    d_step {                                            /* migrate_cancel, `cont` */
      migrating = false;
      if
      :: here != DEAD -> here = RUNS; is = HERE; one_runs
      :: else -> is = LOST
      fi }
  fi;
moved:
  assert(is != THERE || (has_run && here != RUNS && !migrating));
  assert(is != HERE || (!spoke && there == DEAD));
  assert(is != LOST || deaths < DEATHS)
}

/* Once nothing more happens, the machine runs where hpcore says, unless that has died since. */
proctype End() {
end:
  timeout -> assert(is != NOBODY);
  assert(is != HERE || here == RUNS || here == DEAD);
  assert(is != THERE || there == RUNS || there == DEAD);
  assert(deaths < DEATHS || (here == RUNS) != (there == RUNS))
}

init {
  atomic { run Here(); run There(); run Hpcore(); run End() }
}
