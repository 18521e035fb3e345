/* An hpcore dies and another one comes back to the same QEMU on KVM, for SPIN: what the guest has
 * done reaches the log once and in its order, and no dead hpcore grants anything.
 *
 * What backends/kvm/hpcore_kvm_qemu/journal.py, kept.py and again.py do, and the interposer's
 * link.c, written independently of hpcore/model. The machine has one vCPU that comes and goes, its
 * ENABLE is under way. The guest calls CPU_ON and CPU_OFF of it, ejects it, loads registers.
 *
 *     spin -a kept.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan -m1000000
 *
 * -DMESSAGES=5 -DDEATHS=2 say how many. Left out: that the page remembers the last 1,024 messages
 * alone, since who comes back refuses to guess beyond that; and resets.
 */
#ifndef MESSAGES
#define MESSAGES 5
#endif
#ifndef DEATHS
#define DEATHS 2
#endif

/* what the guest does; the last two wait for an answer */
#define GRANTED 1    /* a CPU_ON that the page granted */
#define DENIED 2
#define OFF 3
#define EJECT 4
#define LOAD 5       /* nothing to report */
#define ENABLED 6    /* no message: the end of ENABLE */

#define ALIVE 0
#define DEAD 1
#define CATCHING 2   /* come back, and taking in what it has missed */

/* the page: nobody's death loses it */
bool granted;
byte told, asked;               /* asked: the number of the message that waits, or 0 */
byte message[MESSAGES + 1];
byte report_of[MESSAGES + 1];   /* which report it is; 0 for a LOAD */
byte reports_told;
bool noted[MESSAGES + 1];       /* hpcore's: the message is done, */
byte note[MESSAGES + 1];        /* and so many reports there had been by then */
byte did;                       /* hpcore's: ENABLE is done behind message did - 1 */

/* the log: nor this */
byte logged;                    /* reports */
bool log_enabled;
bool log_ended;                 /* ENABLE has ended */

/* the machine */
bool powered;

/* hpcore, which may die */
byte mode = ALIVE, deaths = DEATHS;
byte heard, reports;            /* messages and reports */
byte skips;                     /* of the reports to come, those that are in the log */
byte missed_to;                     /* what was told when it came back */
byte waiting;                   /* what was asked then */
byte owes;                      /* the message that it has done, and not answered yet */
bool shown;                     /* the registers say that the vCPU is enabled */
bool ended;                     /* this hpcore has carried ENABLE out */
bool begun;                     /* and is about to */
byte number;

/* ENABLE was done, and its place is behind what was taken in last. */
#define ends_here (!log_ended && !ended && did > 0 && did <= heard + 1)

chan link = [MESSAGES] of { byte };             /* numbers of messages */
chan posted = [MESSAGES + 1] of { byte, byte }; /* kind, report: not in the log yet */

/* ------------------------------------------------------------ the interposer, and the guest */

inline tell(kind, has_report) {
  told++;
  message[told] = kind;
  if
  :: has_report -> reports_told++; report_of[told] = reports_told
  :: else -> skip
  fi;
  if
  :: mode != DEAD -> link!told
  :: else -> skip
  fi
}

/* Nobody waits for ever for an hpcore that is gone. */
inline wait_for_answer() {
  do
  :: asked == 0 -> break
  :: d_step { asked != 0 && mode == DEAD -> asked = 0 }
  od
}

proctype Guest() {
end:
  do
  :: d_step { told < MESSAGES && !powered && granted && mode != DEAD -> powered = true;
       tell(GRANTED, true) }
  :: d_step { told < MESSAGES && !powered && (!granted || mode == DEAD) -> tell(DENIED, true) }
  :: d_step { told < MESSAGES && powered -> powered = false; tell(OFF, true) }
  :: d_step { told < MESSAGES && !powered -> tell(EJECT, true); asked = told };
     wait_for_answer()
  :: d_step { told < MESSAGES -> tell(LOAD, false); asked = told };
     wait_for_answer()
  od
}

/* ------------------------------------------------------------------------------------ hpcore */

inline revoke() {
  granted = false
}

/* One message, from the link or from the page; its answer is another step, as is its log. */
inline take(n) {
  heard = n;
  if
  :: message[n] == EJECT -> shown = false; revoke()
  :: else -> skip
  fi;
  if
  :: report_of[n] == 0 -> skip
  :: report_of[n] != 0 && skips > 0 -> reports++; skips--
  :: report_of[n] != 0 && skips == 0 -> reports++; posted!message[n], report_of[n]
  fi;
  note[n] = reports; noted[n] = true;
  owes = (message[n] >= EJECT -> n : 0)
}

inline answer() {
  if
  :: asked == owes -> asked = 0
  :: else -> skip
  fi;
  owes = 0
}

inline write_log(kind, report) {
  posted?kind, report;
  if
  :: kind == ENABLED ->
    assert(!log_ended);                 /* a step ends once */
    log_ended = true; log_enabled = true
  :: else ->
    assert(report == logged + 1);       /* nothing is lost, nothing twice, all in order */
    logged = report;
    assert(kind != GRANTED || log_enabled);
    if
    :: kind == EJECT -> log_enabled = false
    :: else -> skip
    fi
  fi;
  kind = 0; report = 0
}

inline die() {
  mode = DEAD; deaths--;
  do
  :: nempty(link) -> link?_
  :: empty(link) -> break
  od;
  do
  :: nempty(posted) -> posted?_, _
  :: empty(posted) -> break
  od;
  heard = 0; reports = 0; skips = 0; missed_to = 0; waiting = 0; owes = 0;
  shown = false; ended = false; begun = false
}

/* Where its own beginning is: behind the last message that was done, whose reports are all in
 * the log, and which does not wait for an answer. */
inline find_beginning() {
  number = told;
  do
  :: number > 0 && (!noted[number] || note[number] > logged || (asked && number >= asked)) ->
    number--
  :: else -> break
  od;
  heard = number;
  reports = (number -> note[number] : 0);
  skips = logged - reports;
  number = 0
}

inline come_back() {
  if
  :: !powered -> revoke()               /* before the interposer knows of it */
  :: else -> skip
  fi;
  missed_to = told; waiting = asked;
  find_beginning();
  shown = log_enabled;
  mode = CATCHING
}

proctype Hpcore() {
  byte kind, report;
end:
  do
  /* what comes by the link */
  :: d_step { mode == ALIVE && owes == 0 && !begun && nempty(link) -> link?number; take(number); number = 0 }
  :: d_step { mode == ALIVE && owes != 0 -> answer() }
  /* the log, which lags behind */
  :: d_step { mode != DEAD && nempty(posted) -> write_log(kind, report) }
  /* ENABLE: it is written down, then done, then its end is posted */
  :: d_step { mode == ALIVE && owes == 0 && !log_ended && !ended && !begun ->
       did = heard + 1; begun = true }
  :: d_step { mode == ALIVE && begun ->
       begun = false; ended = true; shown = true; granted = true; posted!ENABLED, 0 }
  :: d_step { mode != DEAD && deaths > 0 -> die() }
  :: d_step { mode == DEAD -> come_back() }
  /* what was missed; a step that was done ends in its place */
  :: d_step { mode == CATCHING && owes == 0 && ends_here ->
       ended = true; shown = true; posted!ENABLED, 0 }
  :: d_step { mode == CATCHING && owes == 0 && !ends_here && heard < missed_to ->
       number = heard + 1; take(number); number = 0;
       if
       :: owes != waiting -> owes = 0   /* it was answered before, or gave up */
       :: else -> skip
       fi }
  :: d_step { mode == CATCHING && owes != 0 -> answer() }
  :: d_step { mode == CATCHING && owes == 0 && !ends_here && heard == missed_to ->
       granted = shown; mode = ALIVE }
  od
}

/* Once nothing more happens, all that was told is in the log, and nobody waits. */
proctype End() {
end:
  timeout -> assert(mode == ALIVE && asked == 0 && logged == reports_told && log_ended)
}

init {
  atomic { run Guest(); run Hpcore(); run End() }
}
